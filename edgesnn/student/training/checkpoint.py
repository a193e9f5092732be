"""Checkpoints: everything a killed run needs to go on bit for bit, taken between two steps only."""

from __future__ import annotations

import hashlib
import io
import json
import random
import signal
import threading
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch
from torch import nn

from edgesnn.errors import TrainingError
from edgesnn.whole_files import write_whole

CHECKPOINT_FILE = "checkpoint.pt"
FORMAT = 2


class DelayedInterrupt:
    """Context in which the first Ctrl-C only sets ``requested``; the second one interrupts at once.

    So a checkpoint never holds half a step. Outside the main thread Python allows no handlers, and SIGINT
    keeps its meaning.
    """

    def __init__(self) -> None:
        self.requested = False
        self._previous: Any = None
        self._installed = False

    def __enter__(self) -> DelayedInterrupt:
        if threading.current_thread() is threading.main_thread():
            self._previous = signal.signal(signal.SIGINT, self._handle)
            self._installed = True
        return self

    def __exit__(self, *exception: object) -> None:
        if self._installed:
            signal.signal(signal.SIGINT, self._previous)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True


def rng_state() -> dict[str, Any]:
    """State of every random generator, as data that ``weights_only`` loading admits."""
    kind, keys, position, has_gauss, cached = np.random.get_state(legacy=True)
    version, internal, gauss = random.getstate()
    return {
        "torch": torch.get_rng_state(),
        "numpy": [
            str(kind),
            torch.from_numpy(np.asarray(keys).astype(np.int64)),
            position,
            has_gauss,
            cached,
        ],
        "python": [version, list(internal), gauss],
    }


def restore_rng(state: dict[str, Any]) -> None:
    """Set every random generator to a saved state."""
    kind, keys, position, has_gauss, cached = state["numpy"]
    version, internal, gauss = state["python"]
    torch.set_rng_state(state["torch"])
    np.random.set_state((kind, keys.numpy().astype(np.uint32), position, has_gauss, cached))
    random.setstate((version, tuple(internal), gauss))


def save_checkpoint(
    directory: Path,
    identity: dict[str, Any],
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    progress: dict[str, Any],
) -> None:
    """Replace the directory's checkpoint.

    Args:
        directory: Output directory of the run.
        identity: Configuration that a resuming run must share.
        model: The student.
        optimizer: Its optimizer.
        progress: Plain data: step, data position, sums of losses.

    Raises:
        OutputError: It could not be written; the checkpoint before it is intact.
    """
    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "progress": progress}
    write_checkpoint(directory, identity, state)


def write_checkpoint(directory: Path, identity: dict[str, Any], state: dict[str, Any]) -> None:
    """Replace the directory's checkpoint by ``model``, ``optimizer`` and ``progress`` of a state.

    Raises:
        OutputError: It could not be written; the checkpoint before it is intact.
    """
    buffer = io.BytesIO()
    torch.save(
        {
            "format": FORMAT,
            "identity": json.dumps(identity, sort_keys=True),
            **state,
            "rng": rng_state(),
        },
        buffer,
    )
    content = buffer.getvalue()
    # the digest in front tells a truncated file from a good one before anything is parsed
    write_whole(directory / CHECKPOINT_FILE, hashlib.sha256(content).digest() + content)


def load_checkpoint(
    directory: Path, identity: dict[str, Any], ignored: frozenset[str] = frozenset()
) -> dict[str, Any] | None:
    """Read the checkpoint of a directory.

    Args:
        directory: Where it lies.
        identity: What it must agree on.
        ignored: Keys of the identity that may differ.

    Returns:
        Its content, or None where there is none.

    Raises:
        TrainingError: It is damaged, or belongs to another configuration.
    """
    path = directory / CHECKPOINT_FILE
    if not path.is_file():
        return None
    raw = path.read_bytes()
    remedy = "use --no-resume to start again, or another --output-dir"
    if hashlib.sha256(raw[32:]).digest() != raw[:32]:
        raise TrainingError(f"'{path.name}' is damaged", actual=f"{len(raw)} bytes", remedy=remedy)
    state: dict[str, Any] = torch.load(io.BytesIO(raw[32:]), weights_only=True)
    if state["format"] != FORMAT:
        raise TrainingError(f"'{path.name}' has another format", actual=state["format"], limit=FORMAT)
    saved = json.loads(state["identity"])
    asked = json.loads(json.dumps(identity, sort_keys=True))
    differing = sorted(set(_differences(saved, asked)) - ignored)
    if differing:
        raise TrainingError(
            "the checkpoint in the output directory belongs to another configuration",
            actual="differing: " + ", ".join(differing),
            remedy=remedy,
        )
    return state


def _differences(saved: dict[str, Any], asked: dict[str, Any], prefix: str = "") -> list[str]:
    """Dotted keys whose values differ."""
    found = []
    for key in saved.keys() | asked.keys():
        a, b = saved.get(key), asked.get(key)
        if isinstance(a, dict) and isinstance(b, dict):
            found += _differences(a, b, f"{prefix}{key}.")
        elif a != b:
            found.append(prefix + key)
    return found
