"""The single-process form: the whole network in one Lava process.

One timestep of Lava is one job: any number of tokens, alone or side by side. Its numbers are those of the
graph of processes; its timesteps are not those of a chip.
"""

from __future__ import annotations

from lava.magma.core.decorator import implements, requires, tag
from lava.magma.core.model.py.model import PyLoihiProcessModel
from lava.magma.core.process.process import AbstractProcess
from lava.magma.core.resources import CPU
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol

from snn_lava.engine import Engine
from snn_lava.mailbox import Job, Mapped


class Network(AbstractProcess):
    """Token ids in, logits out, both through files (see `snn_lava.mailbox`).

    Args:
        manifest: Content of ``manifest.json``.
        arrays: Content of ``weights.npz``.
        tokens: Path of the file of tokens.
        logits: Path of the file of logits.
    """

    def __init__(self, *, manifest: dict, arrays: dict, tokens: str, logits: str) -> None:
        super().__init__(name="network")
        self.proc_params["network"] = (manifest, arrays)
        self.proc_params["files"] = (tokens, logits)


@implements(proc=Network, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PyNetwork(PyLoihiProcessModel):
    """Does one job per timestep; contexts are kept apart by their slot."""

    def __init__(self, proc_params: dict) -> None:
        super().__init__(proc_params)
        self._engine = Engine(*proc_params["network"])
        tokens, logits = proc_params["files"]
        self._tokens, self._logits = Mapped(tokens), Mapped(logits)
        self._contexts: dict = {}

    def run_spk(self) -> None:
        """One timestep: one job."""
        job = Job(self._tokens.words())
        if job.ids.size == 0:
            return
        state = self._contexts.setdefault(job.context, {})
        if job.fresh:
            state.clear()
        made = self._engine.run(job.ids, state, every=job.every)
        self._logits.words()[: made.size] = made.ravel()
