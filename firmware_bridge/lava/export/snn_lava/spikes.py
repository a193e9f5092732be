"""What happens to spikes on the way: the token shift, and attention over past tokens."""

from __future__ import annotations

import numpy as np
from lava.magma.core.decorator import implements, requires, tag
from lava.magma.core.model.py.model import PyLoihiProcessModel
from lava.magma.core.model.py.ports import PyInPort, PyOutPort
from lava.magma.core.model.py.type import LavaPyType
from lava.magma.core.process.ports.ports import InPort, OutPort
from lava.magma.core.process.process import AbstractProcess
from lava.magma.core.process.variable import Var
from lava.magma.core.resources import CPU
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol


class TokenShift(AbstractProcess):
    """Spikes of some channels leave one token (T timesteps) later, zeros in the first token.

    Args:
        shape: Shape of the spikes.
        shifted: Ascending channel numbers, int32.
        timesteps: T.
        first: Timestep at which the first token begins here.
        name: Name of the process.
    """

    def __init__(self, *, shape: tuple, shifted: np.ndarray, timesteps: int, first: int, name: str) -> None:
        super().__init__(name=name)
        self.s_in = InPort(shape=shape)
        self.s_out = OutPort(shape=shape)
        self.first = Var(shape=(1,), init=first)
        self.proc_params["shifted"] = shifted
        self.proc_params["timesteps"] = timesteps


@implements(proc=TokenShift, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PyTokenShift(PyLoihiProcessModel):
    """Keeps the shifted channels of the last token, one row per timestep of it."""

    s_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32, precision=1)
    s_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32, precision=1)
    first: np.ndarray = LavaPyType(np.ndarray, np.int64)

    def __init__(self, proc_params: dict) -> None:
        super().__init__(proc_params)
        self._shifted = proc_params["shifted"]
        self._past = np.zeros((proc_params["timesteps"], len(self._shifted)), np.int32)

    def run_spk(self) -> None:
        """One timestep."""
        spikes = self.s_in.recv().astype(np.int32)
        if self.time_step == self.first[0]:
            self._past[:] = 0
        t = self.time_step % len(self._past)
        earlier = self._past[t].copy()
        self._past[t] = spikes[self._shifted]
        spikes[self._shifted] = earlier
        self.s_out.send(spikes)


class SpikingAttention(AbstractProcess):
    """``a_out_i[h, t] = sum over j in (i - W_h, i] of (q_i[h, t] . k_j[h, t]) v_j[h, t]``, without softmax.

    ``s_in`` holds q, k and v, each head-major. On a chip this needs neurons that can be programmed, or fast
    weights ``S += k v^T``: there are no static synapses in it.

    Args:
        head_dim: Channels per head.
        windows: Tokens that each head sees, itself included.
        timesteps: T.
        first: Timestep at which the first token begins here.
        name: Name of the process.
    """

    def __init__(self, *, head_dim: int, windows: tuple, timesteps: int, first: int, name: str) -> None:
        super().__init__(name=name)
        channels = head_dim * len(windows)
        self.s_in = InPort(shape=(3 * channels,))
        self.a_out = OutPort(shape=(channels,))
        self.first = Var(shape=(1,), init=first)
        self.proc_params["head_dim"] = head_dim
        self.proc_params["windows"] = tuple(windows)
        self.proc_params["timesteps"] = timesteps


@implements(proc=SpikingAttention, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PySpikingAttention(PyLoihiProcessModel):
    """Keeps a ring of ``W_h`` keys and values per head and timestep of a token."""

    s_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32, precision=1)
    a_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32, precision=24)
    first: np.ndarray = LavaPyType(np.ndarray, np.int64)

    def __init__(self, proc_params: dict) -> None:
        super().__init__(proc_params)
        self._windows = proc_params["windows"]
        self._head_dim = proc_params["head_dim"]
        self._timesteps = proc_params["timesteps"]
        shape = (self._timesteps, self._head_dim)
        self._keys = [np.zeros((shape[0], window, shape[1]), np.float32) for window in self._windows]
        self._values = [np.zeros((shape[0], window, shape[1]), np.float32) for window in self._windows]

    def run_spk(self) -> None:
        """One timestep."""
        spikes = self.s_in.recv().astype(np.float32)
        elapsed = self.time_step - int(self.first[0])
        if elapsed == 0:
            for ring in (*self._keys, *self._values):
                ring[:] = 0
        token, t = divmod(elapsed, self._timesteps)
        query, key, value = spikes.reshape(3, len(self._windows), self._head_dim)
        current = np.empty((len(self._windows), self._head_dim), np.int32)
        for head, window in enumerate(self._windows):
            keys, values = self._keys[head][t], self._values[head][t]
            keys[token % window] = key[head]
            values[token % window] = value[head]
            # A sum over a ring does not depend on where the oldest token stands.
            current[head] = (keys @ query[head]) @ values
        self.a_out.send(current.ravel())
