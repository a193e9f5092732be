"""A session as the run record that is written."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from edgesnn import __version__
from edgesnn.profiler.session import SessionResult
from edgesnn.record.base import SCHEMA, refuse_misfits
from edgesnn.record.files import RunData, make_run
from edgesnn.record.model import Device, FrameInput, Model, NotMeasured, Provenance, RunRecord
from edgesnn.record.provenance import without_paths
from edgesnn.record.quantities import Kind
from edgesnn.record.timing import Comparison, Interleaving, Reference


def session_run(
    result: SessionResult,
    provenance: Provenance,
    *,
    comparisons: Sequence[Comparison] = (),
    notes: Sequence[str] = (),
    interleaving: Interleaving | None = None,
    reference: Reference | None = None,
) -> RunData:
    """Join what a session found with what stands beside it.

    Args:
        result: The session.
        provenance: Which software made it.
        comparisons: Other engines beside it.
        notes: Marks beside those of the session.
        interleaving: The A/B session it is half of.
        reference: A reference model beside it.

    Returns:
        The run, not written yet.

    Raises:
        RecordError: Something was measured that no record can hold.
    """
    subject, device = result.subject, result.subject.device
    with refuse_misfits("the run"):
        record = RunRecord(
            schema=SCHEMA,
            edgesnn_version=__version__,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            started=result.started.isoformat(timespec="seconds"),
            seconds=result.seconds,
            target=subject.target,
            model=_model(result),
            device=Device(
                runner=subject.runner.name,
                device=device.device,
                engine=device.engine,
                engine_version=device.engine_version,
                simulated=device.simulated,
                clock_hz=device.clock_hz,
                threads=subject.options.threads,
                model_files=list(device.model_files),
                model_bytes=device.model_bytes,
                details={key: without_paths(value) for key, value in device.details.items()},
            ),
            profile=result.profile.model_dump(mode="json", by_alias=True),
            verdict=result.verdict,
            budgets=result.budgets,
            quantities=result.quantities,
            not_measured=[
                NotMeasured(name=name, reason=quantity.reason or "")
                for name, quantity in result.quantities.items()
                if quantity.kind is Kind.ABSENT
            ],
            latency=result.latency,
            activity=result.activity,
            energy=result.energy,
            power=result.power,
            parity=result.parity,
            comparisons=list(comparisons),
            marks=[*result.marks, *notes],
            host=result.host,
            provenance=provenance,
            arrays=None,
            generation=result.generation,
            interleaving=interleaving,
            cascade=result.wake,
            reference=reference,
        )
    return make_run(record, result.arrays)


def _model(result: SessionResult) -> Model:
    """The model of a session: of text by its vocabulary and context, of frames by what it reads."""
    bundle = result.subject.bundle
    program = None if bundle.without_program else bundle.program()
    read = None if program is None else program.frames
    return Model(
        name=bundle.name,
        program_hash=bundle.manifest.program_hash,
        timesteps=1 if program is None else program.timesteps,
        context_window=bundle.context_window if read is None else None,
        vocab_size=bundle.vocab_size if read is None else None,
        frames=None
        if program is None or read is None
        else FrameInput(
            shape=list(read.shape),
            low=read.low,
            high=read.high,
            scale=read.scale,
            outputs=program.outputs,
            decision_frames=result.decision_frames,
        ),
    )
