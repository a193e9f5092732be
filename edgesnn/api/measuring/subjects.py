"""What a profile is measured on, and whether the two go together."""

from __future__ import annotations

import os
from dataclasses import replace

from edgesnn.api.options import ProfileOptions
from edgesnn.bundle.bundle import TOKENIZER_NAME, Bundle
from edgesnn.errors import UsageError
from edgesnn.profiler.budgets.profile import (
    FramesProfile,
    Profile,
    for_target,
    load_profile,
    override,
    unknown_overrides,
)
from edgesnn.profiler.setting import Subject
from edgesnn.runners.recompute import stepping
from edgesnn.targets import names
from edgesnn.text.tokenizer import load_tokenizer


def profile_for(options: ProfileOptions) -> tuple[Profile | FramesProfile, list[str]]:
    """A profile as it applies to a target: options over the target's settings over the profile's.

    Args:
        options: Name or path of the profile, the target, and what replaces its own windows.

    Returns:
        The profile, and what is to be noted of overrides that name no target.

    Raises:
        UsageError: The profile does not exist or is wrong, or an option is out of range.
    """
    whole = load_profile(os.fspath(options.profile))
    own = override(for_target(whole, options.target), options.windows, options.min_window_seconds)
    return own, unknown_overrides(whole, (*names(), options.target))


def check_kind(bundle: Bundle, profile: Profile | FramesProfile) -> None:
    """Refuse a profile of tokens for a network that reads frames, and the reverse.

    Raises:
        UsageError: They do not go together.
    """
    frames = isinstance(profile, FramesProfile)
    if bundle.reads_frames and not frames:
        raise UsageError(
            f"profile '{profile.name}' times tokens of a language model, and '{bundle.name}' reads frames",
            remedy="take a profile whose workload is of kind 'frames', for example --profile always-on",
        )
    if frames and not bundle.reads_frames:
        raise UsageError(
            f"profile '{profile.name}' times frames, and '{bundle.name}' is a language model",
            remedy="take another profile, for example --profile smartglass",
        )


def stepping_subject(subject: Subject, profile: Profile | FramesProfile) -> Subject:
    """A subject that runs step by step: of text with its tokenizer and, where a step needs it, its context.

    Args:
        subject: An open runner that holds a bundle.
        profile: Says how much context a step has.
    """
    if isinstance(profile, FramesProfile):
        return subject
    bundle = subject.bundle
    tokenizer = load_tokenizer(bundle.file(TOKENIZER_NAME))
    context = profile.workload.context or bundle.context_window
    runner = stepping(subject.runner, context, tokenizer.vocab_size)
    return replace(subject, tokenizer=tokenizer, runner=runner)
