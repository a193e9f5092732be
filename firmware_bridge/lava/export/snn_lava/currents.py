"""Where currents come from and what happens to them on the way: token source, delay and saturation."""

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

from snn_lava.arithmetic import Embedding
from snn_lava.mailbox import Job, Mapped

#: Largest magnitude of the residual stream.
RESIDUAL_MAX = 2**17 - 1


class TokenSource(AbstractProcess):
    """The embedding: the current of the token whose turn it is, the same at each of its T timesteps.

    ``a_out[c] = trunc((sum_j P[j, c] E[token, j]) M[c] / 2**shift)``; 0 after the last token.

    Args:
        tokens: Path of the file of tokens (see `snn_lava.mailbox`).
        table: E, int8 ``[vocab, r]``.
        projection: P, int8 ``[r, d]``.
        multiplier: M, int32 ``[d]``.
        shift: k0.
        timesteps: T.
        first: Timestep at which the first token begins.
        name: Name of the process.
    """

    def __init__(
        self,
        *,
        tokens: str,
        table: np.ndarray,
        projection: np.ndarray,
        multiplier: np.ndarray,
        shift: int,
        timesteps: int,
        first: int,
        name: str,
    ) -> None:
        super().__init__(name=name)
        self.a_out = OutPort(shape=(projection.shape[1],))
        self.first = Var(shape=(1,), init=first)
        self.proc_params["tokens"] = tokens
        self.proc_params["embedding"] = Embedding(
            table=table, projection=projection, multiplier=multiplier, shift=shift
        )
        self.proc_params["timesteps"] = timesteps


@implements(proc=TokenSource, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PyTokenSource(PyLoihiProcessModel):
    """Reads the tokens when a text begins."""

    a_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32, precision=24)
    first: np.ndarray = LavaPyType(np.ndarray, np.int64)

    def __init__(self, proc_params: dict) -> None:
        super().__init__(proc_params)
        self._embedding = proc_params["embedding"]
        self._timesteps = proc_params["timesteps"]
        self._tokens = Mapped(proc_params["tokens"])
        self._currents = np.zeros((0, 0), np.int32)

    def run_spk(self) -> None:
        """One timestep."""
        elapsed = self.time_step - int(self.first[0])
        if elapsed == 0:
            ids = Job(self._tokens.words()).ids.ravel()
            self._currents = self._embedding(ids).astype(np.int32)
        token = elapsed // self._timesteps
        inside = 0 <= token < len(self._currents)
        silence = np.zeros(self.a_out.shape, np.int32)
        self.a_out.send(self._currents[token] if inside else silence)


class CurrentDelay(AbstractProcess):
    """``a_out(t) = a_in(t - delay)``, zeros at first; with ``saturate`` clipped to plus or minus 2**17 - 1.

    Args:
        shape: Shape of the current.
        delay: Timesteps, 0 or more.
        saturate: Whether it is clipped.
        name: Name of the process.
    """

    def __init__(self, *, shape: tuple, delay: int, saturate: bool, name: str) -> None:
        super().__init__(name=name)
        self.a_in = InPort(shape=shape)
        self.a_out = OutPort(shape=shape)
        self.proc_params["delay"] = delay
        self.proc_params["saturate"] = saturate


@implements(proc=CurrentDelay, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PyCurrentDelay(PyLoihiProcessModel):
    """Keeps the last ``delay`` currents."""

    a_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32, precision=24)
    a_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32, precision=24)

    def __init__(self, proc_params: dict) -> None:
        super().__init__(proc_params)
        self._delay = proc_params["delay"]
        self._saturate = proc_params["saturate"]
        self._kept: dict = {}

    def run_spk(self) -> None:
        """One timestep."""
        current = self.a_in.recv()
        if self._saturate:
            current = np.clip(current, -RESIDUAL_MAX, RESIDUAL_MAX)
        self._kept[self.time_step + self._delay] = current
        waited = self._kept.pop(self.time_step, None)
        self.a_out.send(np.zeros_like(current) if waited is None else waited)
