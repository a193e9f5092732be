"""How each library reads NIR: the numbers that make its neurons do what a program's neurons do.

A library does not read what it writes: Norse drops a factor dt, Sinabs takes another default, snnTorch and
SpikingJelly build no sum pool. No one file is right for all four, so there is one for each of these.
Tried with snnTorch 1.0.0, SpikingJelly 2.0.0, Norse 1.1.0 and Sinabs 3.1.3
(`tests/foreign/test_nir_export.py`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgesnn.nir.nodes import Float64Array
from edgesnn.program.ops_frames import Reset

#: In steps, the time constant of a neuron that keeps its membrane: float32 makes a decay of 1 of it.
_FOREVER = 2.0**30
#: And of one that keeps nothing, for a decay that is an exponential.
_AT_ONCE = 1e-3


@dataclass(frozen=True, slots=True)
class Dialect:
    """What one file is written for.

    Attributes:
        name: Name in the file's name.
        readers: The libraries that it is for.
        dt: Time step in seconds; 1 where time constants are in steps.
        average: Whether pools are averages, their size multiplied into the weights behind them.
        scaled: Whether a reader scales the current of a leaky neuron with ``1 - beta``.
        exponential: Whether a reader's decay is ``exp(-dt / tau)``, not ``1 - dt / tau``.
        resting: Whether a reader knows the parameter v_reset; nir 1.0.4, which Sinabs pins, does not.
        read_back: Options of ``edgesnn import`` for neurons of a reset, and whether they come from a library
            that fires at its threshold; what is missing reads as nothing exact.
    """

    name: str
    readers: tuple[str, ...]
    dt: float
    average: bool
    scaled: bool
    exponential: bool
    resting: bool
    read_back: dict[tuple[Reset, bool], str]

    def tau(self, beta: Float64Array) -> Float64Array:
        """Time constants of decays, ``[c]``."""
        with np.errstate(divide="ignore"):
            steps = 1 / np.abs(np.log(beta)) if self.exponential else 1 / (1 - beta)
        return np.clip(steps, _AT_ONCE if self.exponential else 1.0, _FOREVER) * self.dt

    def r(self, tau: Float64Array) -> Float64Array:
        """Resistances for such time constants: where they count, a current adds itself by them."""
        return np.ones_like(tau) if self.scaled or self.exponential else tau / self.dt

    def gain(self, beta: Float64Array) -> Float64Array:
        """What a unit of current adds to a membrane in a reader."""
        return np.where(beta < 1, 1 - beta, 1.0) if self.scaled else np.ones_like(beta)


DIALECTS = (
    Dialect(
        "euler", ("snntorch", "spikingjelly"), 1e-4,
        average=True, scaled=False, exponential=False, resting=True,
        read_back={
            (Reset.ZERO, False): "--source snntorch --reset zero",
            (Reset.ZERO, True): "--source spikingjelly",
            (Reset.LATE, False): "--source snntorch --reset subtract",
            (Reset.NONE, False): "--source snntorch --reset none",
        },
    ),
    Dialect(
        "norse", ("norse",), 1e-3, average=False, scaled=True, exponential=False, resting=True,
        read_back={  # Norse writes dt once too often and does not read it so: dt squared is 1e-3
            (Reset.ZERO, False): "--source norse --dt 0.0316227766",
            (Reset.SUBTRACT, False): "--source norse --dt 0.0316227766 --reset subtract",
        },
    ),
    Dialect(
        "sinabs", ("sinabs",), 1.0, average=False, scaled=False, exponential=True, resting=False,
        read_back={
            (Reset.MANY, True): "--source sinabs --no-norm-input",
            (Reset.SUBTRACT, True): "--source sinabs --no-norm-input --spikes one",
            (Reset.ZERO, True): "--source sinabs --no-norm-input --spikes one --reset zero",
        },
    ),
)  # fmt: skip
