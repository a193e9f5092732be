"""What the neurons of each library really do, which a NIR file does not say.

A file has the time constants of an equation and no time step, and does not say how a spike resets, whether
a neuron fires at its threshold, or how often. The rules here were tried: `tests/foreign/test_nir_sources.py`
simulates files of every library and compares each spike with what the library itself made of the same frames.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from edgesnn.errors import UsageError
from edgesnn.names import unknown
from edgesnn.nir.nodes import Float64Array, Node, Shape

#: What a spike does to the membrane: set it to the reset voltage; take the threshold off; nothing.
ResetRule = Literal["zero", "subtract", "none"]
#: A gain or a decay that misses what the file says by more than this was written with another time step.
_TOLERANCE = 1e-3


@dataclass(frozen=True, slots=True)
class Library:
    """The conventions of one library.

    Attributes:
        name: Its name on the command line.
        dt: Its time step in seconds where the user names none; Sinabs counts time constants in steps of 1.
        reset: The reset of its neurons where the user names none.
        resets: The resets that it has.
        inclusive: Whether a neuron fires at V == threshold.
        many: Whether a neuron fires more than once in a frame where the user does not say otherwise.
        norm_input: Whether its leaky neurons scale their input with ``1 - beta`` where the user does not
            say otherwise; None where the file says so itself.
        late: Whether the threshold is taken off one frame after the spike.
    """

    name: str
    dt: float
    reset: ResetRule
    resets: tuple[ResetRule, ...]
    inclusive: bool
    many: bool = False
    norm_input: bool | None = None
    late: bool = False


#: snnTorch 1.0.0, Norse 1.1.0, Sinabs 3.1.3, SpikingJelly 2.0.0.
SOURCES: dict[str, Library] = {
    one.name: one
    for one in (
        Library("snntorch", 1e-4, "subtract", ("subtract", "zero", "none"), inclusive=False, late=True),
        Library("norse", 1e-3, "zero", ("zero", "subtract"), inclusive=False),
        Library("sinabs", 1.0, "subtract", ("subtract", "zero"), inclusive=True, many=True, norm_input=True),
        Library("spikingjelly", 1e-4, "zero", ("zero",), inclusive=True),
    )
}


@dataclass(frozen=True, slots=True)
class Rules:
    """What the file does not say, said: a source, and what the user knows better than its defaults.

    Attributes:
        source: The library.
        dt: Time step in seconds.
        reset: What a spike does.
        many: Whether a neuron may fire more than once in a frame.
        norm_input: Whether leaky neurons scale their input with ``1 - beta``; None where the file says so.
    """

    source: Library
    dt: float
    reset: ResetRule
    many: bool
    norm_input: bool | None


def rules_for(
    source: str,
    dt: float | None = None,
    reset: str | None = None,
    spikes: str | None = None,
    norm_input: bool | None = None,
) -> Rules:
    """The rules of a source, with what the user knows better.

    Args:
        source: A key of `SOURCES`.
        dt: Time step in seconds, or None.
        reset: ``zero``, ``subtract``, ``none``, or None.
        spikes: ``one`` or ``many`` in a frame at most, or None.
        norm_input: Whether leaky neurons scale their input with ``1 - beta``, or None.

    Raises:
        UsageError: There is no such source, or it has no such neurons.
    """
    if source not in SOURCES:
        raise unknown("source", source, SOURCES)
    known = SOURCES[source]
    if dt is not None and not 0 < dt < np.inf:
        raise UsageError("a time step is a positive number of seconds", actual=dt)
    if reset is not None and reset not in known.resets:
        raise UsageError(f"{source} has no reset '{reset}'", limit=", ".join(known.resets))
    if spikes not in (None, "one", "many"):
        raise UsageError(f"spikes in a frame are one or many, not '{spikes}'")
    if spikes == "many" and not known.many:
        raise UsageError(
            f"neurons of {source} fire once in a frame at most", remedy="leave out --spikes many"
        )
    if norm_input is not None and known.norm_input is None:
        raise UsageError(
            f"files of {source} say themselves how neurons scale their input",
            remedy="leave out --norm-input and --no-norm-input, which are for Sinabs",
        )
    chosen = next((one for one in known.resets if one == reset), known.reset)
    return Rules(
        known,
        known.dt if dt is None else dt,
        chosen,
        known.many and spikes != "one",
        known.norm_input if norm_input is None else norm_input,
    )


@dataclass(frozen=True, slots=True, eq=False)
class Dynamics:
    """One layer of neurons in discrete time: ``V = beta V + gain I + drive``, a spike where V reaches theta.

    Attributes:
        beta: What is left of a membrane after a frame, ``[c]``, 0..1.
        gain: What a current adds, ``[c]``.
        drive: What every frame adds, ``[c]``.
        theta: Threshold ``[c]``; infinite where a neuron never fires.
        reset_to: V after a spike, with reset zero, ``[c]``.
        start: V before the first frame, ``[c]``.
        reset: What a spike does.
        late: Whether the threshold is taken off one frame after the spike.
        inclusive: Whether V == theta fires.
        many: Whether it fires ``floor(V / theta)`` times.
    """

    beta: Float64Array
    gain: Float64Array
    drive: Float64Array
    theta: Float64Array
    reset_to: Float64Array
    start: Float64Array
    reset: ResetRule
    late: bool
    inclusive: bool
    many: bool


def dynamics(node: Node, shape: Shape, rules: Rules) -> tuple[Dynamics | None, list[str]]:
    """What a node with membranes does in a time step, and what speaks against it.

    Args:
        node: LIF, IF, LI or I.
        shape: Shape of its neurons.
        rules: What the file does not say.

    Returns:
        The dynamics, or None, and every reason why there are none, as ends of sentences.
    """
    problems: list[str] = []
    zero = np.zeros(int(np.prod(shape)))
    beta, gain, leak = zero + 1, zero + 1, zero
    r = node.spread("r", shape)
    if node.kind in ("LIF", "LI"):
        beta, gain = _leak(node, node.spread("tau", shape), r, rules, problems)
        leak = node.spread("v_leak", shape)
    elif rules.source.name == "spikingjelly":
        gain = r * rules.dt
        if np.abs(gain - 1).max() > _TOLERANCE:
            problems.append(
                f"dt {rules.dt:g} s contradicts its r of {_some(r)}, which SpikingJelly writes as 1/dt"
            )
    elif (r != 1).any():
        problems.append(f"r is {_some(r)}; {rules.source.name} writes 1")
    firing = node.kind in ("LIF", "IF")
    theta = node.spread("v_threshold", shape) if firing else zero + np.inf
    reset_to = node.spread("v_reset", shape)
    if (gain <= 0).any():
        problems.append(f"a gain of {_some(gain)} is not positive: r {_some(r)}")
    if (theta <= (reset_to if rules.reset == "zero" else 0)).any():
        problems.append(f"its threshold {_some(theta)} is not above where its membrane begins")
    if rules.reset != "zero" and (reset_to != 0).any():
        problems.append(f"its v_reset {_some(reset_to)} is of no use to reset {rules.reset}")
    start = (
        leak if rules.source.name == "norse" else reset_to if rules.source.name == "spikingjelly" else zero
    )
    if firing and (start != (reset_to if rules.reset == "zero" else 0)).any():
        problems.append(f"its membrane begins at {_some(start)}, which is not what it is reset to")
    if not firing and (start != 0).any():
        problems.append(f"its membrane begins at {_some(start)}, not at 0")
    if problems:
        return None, problems
    made = Dynamics(
        beta,
        gain,
        (1 - beta) * leak,
        theta,
        reset_to,
        start,
        rules.reset if firing else "none",
        rules.source.late and rules.reset == "subtract",
        rules.source.inclusive,
        rules.many and firing,
    )
    return made, []


def _leak(
    node: Node, tau: Float64Array, r: Float64Array, rules: Rules, problems: list[str]
) -> tuple[Float64Array, Float64Array]:
    """Beta and gain of a leaky neuron."""
    name, dt = rules.source.name, rules.dt
    if (tau <= 0).any():
        problems.append(f"tau {_some(tau)} is not positive")
        return tau, r
    if name == "sinabs":  # tau in steps; the exact decay, not Euler's
        beta = np.exp(-dt / tau)
        scaled = rules.norm_input and node.kind == "LIF"
        if dt != 1:
            problems.append(f"dt {dt:g} contradicts its tau, which Sinabs writes in steps")
        if (r != 1).any():
            problems.append(f"r is {_some(r)}; sinabs writes 1")
        return beta, (1 - beta) if scaled else np.ones_like(beta)
    # Norse writes dt / tau_mem_inv for tau (its issue 411): dt once too often
    ratio = dt * dt / tau if name == "norse" else dt / tau
    if (ratio > 1 + _TOLERANCE).any():
        problems.append(
            f"dt {dt:g} s contradicts its tau {_some(tau)}: the membrane would swing, by "
            f"1 - {'dt * dt' if name == 'norse' else 'dt'} / tau = {_some(1 - ratio)}"
        )
        return 1 - ratio, r
    beta, gain = 1 - ratio, r * ratio
    if name == "snntorch":
        if np.abs(gain - 1).max() > _TOLERANCE:
            problems.append(
                f"dt {dt:g} s contradicts its tau {_some(tau)} and r {_some(r)}: snnTorch writes r = tau / dt"
            )
        gain = np.ones_like(gain)
    return np.maximum(beta, 0.0), gain


def _some(values: Float64Array) -> str:
    low, high = float(values.min()), float(values.max())
    return f"{low:.6g}" if low == high else f"{low:.6g} to {high:.6g}"
