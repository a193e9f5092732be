"""What networks that read frames have besides: their source, neurons that remember, and their sink.

A frame is one timestep of Lava. Membranes live on from frame to frame and are 0 where a sequence begins.
"""

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

from snn_lava.mailbox import ROWS, Job, Mapped
from snn_lava.neurons import PyThresholds, ThresholdLIF

#: A count of spikes stops here.
COUNT_MAX = 2**24 - 1


class FrameSource(AbstractProcess):
    """The spikes of the frame whose turn it is; none after the last.

    Args:
        tokens: Path of the file of frames (see `snn_lava.mailbox`): rows are frames.
        inputs: Channels of a frame.
        first: Timestep of the first frame.
        name: Name of the process.
    """

    def __init__(self, *, tokens: str, inputs: int, first: int, name: str) -> None:
        super().__init__(name=name)
        self.s_out = OutPort(shape=(inputs,))
        self.first = Var(shape=(1,), init=first)
        self.proc_params["tokens"] = tokens


@implements(proc=FrameSource, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PyFrameSource(PyLoihiProcessModel):
    """Reads the frames when a sequence begins."""

    s_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32, precision=1)
    first: np.ndarray = LavaPyType(np.ndarray, np.int64)

    def __init__(self, proc_params: dict) -> None:
        super().__init__(proc_params)
        self._tokens = Mapped(proc_params["tokens"])
        self._frames = np.zeros((0, 0), np.int32)

    def run_spk(self) -> None:
        """One timestep."""
        frame = self.time_step - int(self.first[0])
        if frame == 0:
            self._frames = Job(self._tokens.words()).ids
        inside = 0 <= frame < len(self._frames)
        self.s_out.send(self._frames[frame] if inside else np.zeros(self.s_out.shape, np.int32))


class PersistentLIF(ThresholdLIF):
    """``ThresholdLIF`` with a decay per neuron, whose membrane lives on until the next sequence begins.

    Args:
        first: Timestep at which the first frame arrives here.
        dv: Decays of the membranes, in 1/4096, int32 ``[n]``.
        **neuron: ``theta``, ``bias`` and ``name`` of `ThresholdLIF`.
    """

    def __init__(self, *, first: int, dv: np.ndarray, **neuron: object) -> None:
        super().__init__(dv=0, reset_interval=1, reset_offset=1, **neuron)  # which no timestep meets
        self.dv = Var(shape=dv.shape, init=dv)
        self.first = Var(shape=(1,), init=first)


@implements(proc=PersistentLIF, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PyPersistentLIF(PyThresholds):
    """Forgets where a sequence begins."""

    dv: np.ndarray = LavaPyType(np.ndarray, np.int32, precision=13)
    first: np.ndarray = LavaPyType(np.ndarray, np.int64)

    def run_spk(self) -> None:
        """One timestep."""
        if self.time_step == int(self.first[0]):
            self.u[:] = 0
            self.v[:] = 0
        self.s_out.send(self.fire(self.a_in.recv()))


class FrameSink(AbstractProcess):
    """Spikes of every frame, or how many there were since the sequence began, written into a file.

    Args:
        tokens: Path of the file of frames, which says how many there are.
        logits: Path of the file of outputs, one row of int32 a frame.
        outputs: Channels.
        summed: Whether spikes are counted: ``count = min(count + s, 2**24 - 1)``.
        first: Timestep at which the first frame arrives here.
        name: Name of the process.
    """

    def __init__(
        self, *, tokens: str, logits: str, outputs: int, summed: bool, first: int, name: str
    ) -> None:
        super().__init__(name=name)
        self.s_in = InPort(shape=(outputs,))
        self.first = Var(shape=(1,), init=first)
        self.proc_params["files"] = (tokens, logits)
        self.proc_params["summed"] = summed


@implements(proc=FrameSink, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PyFrameSink(PyLoihiProcessModel):
    """Writes a row every timestep of a sequence."""

    s_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32, precision=1)
    first: np.ndarray = LavaPyType(np.ndarray, np.int64)

    def __init__(self, proc_params: dict) -> None:
        super().__init__(proc_params)
        tokens, logits = proc_params["files"]
        self._tokens, self._logits = Mapped(tokens), Mapped(logits)
        self._summed = proc_params["summed"]
        self._counts = 0

    def run_spk(self) -> None:
        """One timestep."""
        spikes = self.s_in.recv().astype(np.int64)
        frame, width = self.time_step - int(self.first[0]), len(spikes)
        if self._summed:
            spikes = self._counts = np.minimum(spikes + (self._counts if frame else 0), COUNT_MAX)
        if 0 <= frame < int(self._tokens.words()[ROWS]):
            self._logits.words()[frame * width : (frame + 1) * width] = spikes
