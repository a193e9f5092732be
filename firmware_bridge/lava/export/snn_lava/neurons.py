"""Populations of neurons that differ from Lava's stock ``LIFReset``: a threshold and a bias for every neuron.

The membrane follows the stock fixed-point model of Lava, which is Loihi's::

    V = trunc(V (4096 - dv) / 4096) + 64 a_in + bias, saturated to 24 bits;  s = V > theta;  V = 0 where s

and is 0 again when a token begins (every ``reset_interval`` timesteps).
"""

from __future__ import annotations

import numpy as np
from lava.magma.core.decorator import implements, requires, tag
from lava.magma.core.model.py.ports import PyOutPort
from lava.magma.core.model.py.type import LavaPyType
from lava.magma.core.process.ports.ports import OutPort
from lava.magma.core.process.variable import Var
from lava.magma.core.resources import CPU
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol
from lava.proc.lif.models import AbstractPyLifModelFixed
from lava.proc.lif.process import LIFReset


class ThresholdLIF(LIFReset):
    """``LIFReset`` with a threshold and a bias per neuron, both in membrane units (1/64 of a current).

    Args:
        theta: Thresholds, int32 ``[n]``.
        bias: Biases, int32 ``[n]``.
        dv: Decay of the membrane, in 1/4096.
        reset_interval: Timesteps per token.
        reset_offset: Timestep, modulo ``reset_interval``, at which a token begins here.
        name: Name of the process.
    """

    def __init__(
        self,
        *,
        theta: np.ndarray,
        bias: np.ndarray,
        dv: int,
        reset_interval: int,
        reset_offset: int,
        name: str,
    ) -> None:
        super().__init__(
            shape=theta.shape,
            du=4095,
            dv=dv,
            vth=0,
            reset_interval=reset_interval,
            reset_offset=reset_offset,
            name=name,
        )
        self.theta = Var(shape=theta.shape, init=theta)
        self.bias = Var(shape=bias.shape, init=bias)


class PyThresholds(AbstractPyLifModelFixed):
    """Lava's fixed-point neuron with thresholds and biases that are not shared; a model of its own below."""

    s_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32, precision=1)
    vth: int = LavaPyType(int, np.int32, precision=17)
    theta: np.ndarray = LavaPyType(np.ndarray, np.int32, precision=24)
    bias: np.ndarray = LavaPyType(np.ndarray, np.int32, precision=32)

    def __init__(self, proc_params: dict) -> None:
        super().__init__(proc_params)
        self.reset_interval = proc_params["reset_interval"]
        self.reset_offset = proc_params["reset_offset"]

    def fire(self, current: np.ndarray) -> np.ndarray:
        """One timestep of the neurons.

        Args:
            current: Sum of the weights of the inputs that spiked, int32 ``[n]``.

        Returns:
            Spikes, bool ``[n]``.
        """
        if self.time_step % self.reset_interval == self.reset_offset:
            self.u[:] = 0
            self.v[:] = 0
        self.effective_bias = self.bias
        self.subthr_dynamics(activation_in=current)
        spikes = self.v > self.theta
        self.reset_voltage(spike_vector=spikes)
        return spikes


@implements(proc=ThresholdLIF, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PyThresholdLIF(PyThresholds):
    """Receives, fires, sends."""

    def run_spk(self) -> None:
        """One timestep."""
        self.s_out.send(self.fire(self.a_in.recv()))


class ResidualLIF(ThresholdLIF):
    """``ThresholdLIF`` on the residual stream, with the two delays that belong to it.

    * ``s_out``: spikes; those of the channels in ``shifted`` leave one token (``reset_interval`` timesteps)
      later, zeros in the first token.
    * ``a_out``: what came in, ``relay`` timesteps later: the residual stream waits for its branch.

    One process instead of three, because every process costs 0.2 ms per timestep.

    Args:
        shifted: Ascending channel numbers, int32; none by default.
        relay: Timesteps of the way from ``a_in`` to ``a_out``; 0 where nobody listens to ``a_out``.
        first: Timestep at which the first token begins here.
        **neuron: As of `ThresholdLIF`.
    """

    def __init__(
        self, *, relay: int, first: int, shifted: np.ndarray | None = None, **neuron: object
    ) -> None:
        super().__init__(**neuron)
        shape = neuron["theta"].shape
        self.a_out = OutPort(shape=shape)
        self.first = Var(shape=(1,), init=first)
        self.proc_params["shifted"] = np.empty(0, np.int32) if shifted is None else shifted
        self.proc_params["relay"] = relay


@implements(proc=ResidualLIF, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PyResidualLIF(PyThresholds):
    """Keeps the last ``relay`` currents, and of the last token the spikes that leave later."""

    a_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32, precision=24)
    first: np.ndarray = LavaPyType(np.ndarray, np.int64)

    def __init__(self, proc_params: dict) -> None:
        super().__init__(proc_params)
        self._shifted = proc_params["shifted"]
        self._past = np.zeros((self.reset_interval, len(self._shifted)), bool)
        self._relay = proc_params["relay"]
        self._currents: dict = {}

    def run_spk(self) -> None:
        """One timestep."""
        current = self.a_in.recv()
        if self._relay:
            self._currents[self.time_step + self._relay] = current
            waited = self._currents.pop(self.time_step, None)
            self.a_out.send(np.zeros_like(current) if waited is None else waited)
        spikes = self.fire(current)
        if self.time_step == self.first[0]:
            self._past[:] = False
        t = self.time_step % self.reset_interval
        earlier = self._past[t].copy()
        self._past[t] = spikes[self._shifted]
        spikes[self._shifted] = earlier
        self.s_out.send(spikes)
