"""The Hugging Face hub: asked once whether it answers, so that no library tries for minutes to find out."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

PATIENCE_S = 5.0
"""How long the hub may take to answer at all."""


@contextmanager
def hub_access(wanted: bool) -> Iterator[None]:
    """Within it transformers and datasets may ask the hub; they take what is cached where they may not.

    Each of them asks several times for each of its files, with pauses between: minutes until it says that
    there is no network. So a hub that does not answer is not asked at all.

    Args:
        wanted: Whether anything of the hub is needed; a folder on this machine opens no connection.
    """
    from huggingface_hub import constants

    # both keep a copy of the setting that they were imported with
    settings = [constants, *(sys.modules[name] for name in ("datasets.config",) if name in sys.modules)]
    before = [bool(setting.HF_HUB_OFFLINE) for setting in settings]
    offline = any(before) or not (wanted and hub_answers(str(constants.ENDPOINT)))
    try:
        _set_offline(settings, [offline] * len(settings))
        yield
    finally:
        _set_offline(settings, before)


def _set_offline(settings: list[Any], values: list[bool]) -> None:
    for setting, value in zip(settings, values, strict=True):
        setting.HF_HUB_OFFLINE = value


@cache
def hub_answers(endpoint: str) -> bool:
    """Whether a hub gives any answer within `PATIENCE_S`.

    It is asked in a thread, because looking up a name knows no deadline.
    """
    from huggingface_hub import get_session

    answered = threading.Event()
    session = get_session()  # here, because what it imports takes a busy machine seconds: not the hub's

    def ask() -> None:
        try:
            session.head(endpoint, timeout=PATIENCE_S)
        except Exception:  # whatever is wrong with the way there, it is not to be had
            return
        answered.set()

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(PATIENCE_S)
    return answered.is_set()
