"""Setting a program against a chip: does it fit, what moves, what does it cost?"""

from __future__ import annotations

import os
from dataclasses import dataclass

from edgesnn.api.bundles import bundle_of
from edgesnn.api.network import network_of
from edgesnn.bundle.bundle import Bundle
from edgesnn.chips.description import Chip, load_chip
from edgesnn.chips.energy import chip_energy
from edgesnn.chips.fit import Fit, fit
from edgesnn.chips.work import WorkTotals
from edgesnn.profiler.counts.activity import ActivityCounts, count_activity
from edgesnn.profiler.setting import repeated, workload_ids
from edgesnn.program.program import Program

#: Tokens over which `map_bundle` counts what moves.
MAP_TOKENS = 64
NOT_COUNTED = "activity was not counted (--tokens 0)"


@dataclass(frozen=True, slots=True)
class Mapping:
    """A program against a chip.

    Attributes:
        chip: The chip.
        fit: Populations, cores, violations.
        text: What the tokens or frames of `work` were; None when nothing was counted.
        work: What was counted on golden; None when nothing was.
        energy_uj: ESTIMATED energy per token or frame by part, microjoules; None with `energy_reason`.
        energy_high_uj: The same by the largest energies per event where sources differ.
        energy_reason: Why there is no energy; None where there is.

    Examples:
        >>> mapping = edgesnn.map_bundle("bundle", chip="loihi1")
        >>> mapping.fit.fits, len(mapping.fit.violations) > 0
        (False, True)
    """

    chip: Chip
    fit: Fit
    text: str | None
    work: WorkTotals | None
    energy_uj: dict[str, float] | None
    energy_high_uj: dict[str, float] | None
    energy_reason: str | None

    def __repr__(self) -> str:
        found = self.fit
        broken = "; ".join(one.sentence() for one in found.violations[:3])
        fits = "fits" if found.fits else f"breaks {len(found.violations)} limits of"
        cores = f"{found.cores:,} of {found.cores_available:,} cores"
        return f"<Mapping: {fits} {self.chip.name}, {cores}{': ' if broken else ''}{broken}>"


def map_bundle(
    bundle: Bundle | str | os.PathLike[str], chip: str | os.PathLike[str], *, tokens: int = MAP_TOKENS
) -> Mapping:
    """Set a bundle against a neuromorphic chip: does it fit, what moves, what does it cost?

    Args:
        bundle: A bundle, its folder, or a student artifact (``reference`` ships with edgesnn).
        chip: Name of a chip that ships with edgesnn, or the path of a TOML file.
        tokens: Tokens, or frames, over which activity is counted; 0 leaves traffic and energy out.

    Raises:
        UserError: Bundle or artifact is unusable.
        UsageError: There is no such chip, or its file is wrong.

    Examples:
        >>> mapping = edgesnn.map_bundle("bundle", chip="loihi2")
        >>> mapping.fit.fits
        True
    """
    described = load_chip(os.fspath(chip))
    with bundle_of(bundle, formats=()) as opened:
        if tokens == 0:
            return map_program(opened.program(), described)
        ids, text = workload_ids(opened)
        activity = count_activity(opened.program(), repeated(ids, tokens))
        return map_program(opened.program(), described, activity, text)


def map_program(
    program: Program, chip: Chip, activity: ActivityCounts | None = None, text: str | None = None
) -> Mapping:
    """Set a program against a chip.

    Args:
        program: The program.
        chip: The chip.
        activity: What was counted of it, for traffic and energy.
        text: On which text.
    """
    network = network_of(program, chip.limits.message_bits.value)
    found = fit(network, chip)
    if activity is None:
        return Mapping(chip, found, text, None, None, None, chip.energy_reason or NOT_COUNTED)
    effective: dict[str, int] = {}
    for one in activity.ops:  # q, k and v are counted apart and stand on cores as one matrix
        name = one.op if one.kind == "linear" and one.op is not None else one.name
        effective[name] = effective.get(name, 0) + (one.effective_total or 0)
    low, high = (chip_energy(activity.work, effective, network, chip, high=one) for one in (False, True))
    return Mapping(chip, found, text, activity.work, low, high, chip.energy_reason)
