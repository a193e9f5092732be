"""Where spikes end: counted over each token and read out as logits."""

from __future__ import annotations

import numpy as np
from lava.magma.core.decorator import implements, requires, tag
from lava.magma.core.model.py.model import PyLoihiProcessModel
from lava.magma.core.model.py.ports import PyInPort
from lava.magma.core.model.py.type import LavaPyType
from lava.magma.core.process.ports.ports import InPort
from lava.magma.core.process.process import AbstractProcess
from lava.magma.core.process.variable import Var
from lava.magma.core.resources import CPU
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol

from snn_lava.arithmetic import Readout
from snn_lava.mailbox import LENGTH, Mapped


class CountSink(AbstractProcess):
    """``c = sum over t of s(t)``; ``z = c D + bz``; ``z8 = clip(trunc(z M / 2**shift), -127, 127)``;
    ``logits = z8 E^T``, written into a file, one row of int32 per token.

    Counting is what a chip does; the readout is the host's work, and is done here on the CPU.

    Args:
        tokens: Path of the file of tokens, which says how many there are.
        logits: Path of the file of logits.
        weight: D, int8 ``[d, r]``.
        bias: bz, int32 ``[r]``.
        multiplier: M, int32 ``[r]``.
        shift: k.
        table: E, int8 ``[vocab, r]``.
        timesteps: T.
        first: Timestep at which the first token begins here.
        name: Name of the process.
    """  # noqa: D205, D415 - the equation is the summary

    def __init__(
        self,
        *,
        tokens: str,
        logits: str,
        weight: np.ndarray,
        bias: np.ndarray,
        multiplier: np.ndarray,
        shift: int,
        table: np.ndarray,
        timesteps: int,
        first: int,
        name: str,
    ) -> None:
        super().__init__(name=name)
        self.s_in = InPort(shape=(weight.shape[0],))
        self.first = Var(shape=(1,), init=first)
        self.proc_params["files"] = (tokens, logits)
        self.proc_params["readout"] = Readout(
            weight=weight, bias=bias, multiplier=multiplier, shift=shift, table=table
        )
        self.proc_params["timesteps"] = timesteps


@implements(proc=CountSink, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PyCountSink(PyLoihiProcessModel):
    """Writes a token's logits at its last timestep."""

    s_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32, precision=1)
    first: np.ndarray = LavaPyType(np.ndarray, np.int64)

    def __init__(self, proc_params: dict) -> None:
        super().__init__(proc_params)
        tokens, logits = proc_params["files"]
        self._tokens, self._logits = Mapped(tokens), Mapped(logits)
        self._readout = proc_params["readout"]
        self._timesteps = proc_params["timesteps"]
        self._counts = 0

    def run_spk(self) -> None:
        """One timestep."""
        spikes = self.s_in.recv()
        token, t = divmod(self.time_step - int(self.first[0]), self._timesteps)
        self._counts = self._counts + spikes if t else spikes
        if t != self._timesteps - 1 or not 0 <= token < int(self._tokens.words()[LENGTH]):
            return
        vocab = self._readout.vocab
        row = self._readout(self._counts[None, :])[0]
        self._logits.words()[token * vocab : (token + 1) * vocab] = row
