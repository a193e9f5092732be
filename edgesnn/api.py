"""The few functions that join the rooms; the command line is a thin layer over them.

Heavy packages are imported inside the function that needs them, so importing this module is cheap.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgesnn.errors import ArtifactError, EdgesnnError, MissingExtraError, UsageError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from edgesnn.bundle.bundle import Bundle
    from edgesnn.profiler.comparison import Comparison
    from edgesnn.profiler.profile import Profile
    from edgesnn.profiler.results import AccuracyResult, ParityResult
    from edgesnn.profiler.session import SessionResult
    from edgesnn.program.artifact import StudentArtifact
    from edgesnn.program.compile import CalibrationText, Compiled
    from edgesnn.program.float_program import FloatProgram
    from edgesnn.record.files import Run
    from edgesnn.runners.base import Runner
    from edgesnn.text.generate import Piece
    from edgesnn.text.sampling import SamplingOptions

#: Told what happens: a stage, steps done, steps in all.
Progress = Callable[[str, int, int], None]

#: Tokens of held-out text that the compiler measures on.
CALIBRATION_TOKENS = 4000
#: Tokens that `verify_bundle` compares at least, per target and form.
PARITY_TOKENS = 2000


def _silent(stage: str, done: int, total: int) -> None:
    """Progress that nobody sees."""


def read_student(path: Path) -> StudentArtifact:
    """Read a student artifact; torch is needed only when it holds ``student.pt`` alone.

    Args:
        path: The folder that ``edgesnn train`` wrote.

    Returns:
        Metadata and tensors.

    Raises:
        ArtifactError: A file is missing, damaged or inconsistent.
        MissingExtraError: Only ``student.pt`` is there, and torch is not installed.
    """
    from edgesnn.program.artifact import TENSORS_NAME, StudentArtifact, read_artifact

    if (path / TENSORS_NAME).is_file() or not (path / "student.pt").is_file():
        return read_artifact(path)
    try:
        from edgesnn.student import load_student
    except ImportError:
        raise MissingExtraError(
            f"'{path}' holds student.pt but no {TENSORS_NAME}, and reading student.pt needs torch",
            remedy="pip install 'edgesnn[train]'",
        ) from None
    model, metadata = load_student(path)
    return StudentArtifact(path, metadata, {k: v.float().numpy() for k, v in model.state_dict().items()})


def compile_student(
    path: Path, on_progress: Progress = _silent
) -> tuple[StudentArtifact, FloatProgram, Compiled]:
    """Fold and compile a student artifact.

    Args:
        path: The artifact.
        on_progress: Told what happens.

    Returns:
        The artifact, the folded float32 student, and the integer program with its report.

    Raises:
        ArtifactError: The artifact is unusable.
        CompileError: The student has no exact integer program.
    """
    from edgesnn.program.compile import compile_program
    from edgesnn.program.fold import fold

    artifact = read_student(path)
    folded = fold(artifact)
    text = _calibration_text(path, folded.embed.table.shape[0])
    return artifact, folded, compile_program(folded, text, on_progress=on_progress)


def _calibration_text(path: Path, vocab_size: int) -> CalibrationText | None:
    from edgesnn.bundle.bundle import EVAL_NAME, read_eval_slice
    from edgesnn.program.compile import CalibrationText

    if not (path / EVAL_NAME).is_file():
        return None
    held_out = read_eval_slice(path / EVAL_NAME, vocab_size)
    documents: list[Any] = []
    tokens = 0
    for document in held_out.documents():
        if tokens >= CALIBRATION_TOKENS:
            break
        documents.append(document)
        tokens += len(document)
    source = f"first {len(documents)} documents of the held-out slice"
    return CalibrationText(documents, held_out.doc_bytes[: len(documents)], source)


def export_student(
    path: Path,
    output: Path,
    formats: Sequence[str] | None = None,
    *,
    overwrite: bool = False,
    name: str | None = None,
    on_progress: Progress = _silent,
) -> Bundle:
    """Compile a student and write the bundle that devices run.

    Args:
        path: The student artifact.
        output: The folder to make.
        formats: Names of exporters; None for all that load.
        overwrite: Whether an existing bundle is replaced.
        name: Name of the model; the artifact folder's by default.
        on_progress: Told what happens.

    Returns:
        The bundle, verified.

    Raises:
        UserError: Student, format or output folder is unusable; nothing is left half-written.
    """
    from edgesnn import plugins
    from edgesnn.bundle.bundle import EVAL_NAME, TOKENIZER_NAME
    from edgesnn.bundle.export import BundleSource, write_bundle
    from edgesnn.errors import OutputError
    from edgesnn.text.tokenizer import load_tokenizer

    chosen = list(formats) if formats is not None else plugins.names(plugins.EXPORTERS)
    exporters = {format_name: plugins.load_exporter(format_name)() for format_name in chosen}
    if output.exists() and not overwrite:
        raise OutputError(f"'{output}' exists already", remedy="name another folder or give --force")
    artifact, folded, compiled = compile_student(path, on_progress)
    tokenizer = path / TOKENIZER_NAME
    tokens = load_tokenizer(tokenizer).vocab_size
    if tokens != compiled.program.vocab_size:
        raise ArtifactError(
            f"{TOKENIZER_NAME} of '{path}' is not this student's",
            actual=f"{tokens} tokens",
            limit=f"{compiled.program.vocab_size} tokens",
        )
    source = BundleSource(
        name=name or path.resolve().name,
        compiled=compiled,
        folded=folded,
        tokenizer=tokenizer,
        eval_slice=path / EVAL_NAME if (path / EVAL_NAME).is_file() else None,
        student=_student_facts(artifact),
        text=artifact.metadata.get("text") or {},
    )
    return write_bundle(
        source,
        exporters,
        output,
        overwrite=overwrite,
        on_format=lambda format_name: on_progress(f"writing {format_name}", 0, 1),
    )


def _student_facts(artifact: StudentArtifact) -> dict[str, Any]:
    kept = (
        "model_type",
        "architecture_version",
        "vocab_size",
        "student_params",
        "architecture",
        "snn_config",
        "training_config",
        "training_results",
        "metadata",
    )
    return {key: artifact.metadata[key] for key in kept if key in artifact.metadata}


def open_bundle(path: Path) -> Bundle:
    """Open a bundle and verify every hash.

    Raises:
        BundleError: It is no bundle or breaks one of its promises.
    """
    from edgesnn.bundle.bundle import Bundle

    return Bundle(path)


@contextmanager
def bundle_of(path: Path, on_progress: Progress = _silent) -> Iterator[Bundle]:
    """A bundle at a path, or one made from the student artifact there and removed afterwards.

    Args:
        path: A bundle or a student artifact.
        on_progress: Told what happens.

    Yields:
        The bundle.
    """
    from edgesnn.bundle.bundle import MANIFEST_NAME
    from edgesnn.program.artifact import METADATA_NAME

    if (path / MANIFEST_NAME).is_file() or not (path / METADATA_NAME).is_file():
        yield open_bundle(path)
        return
    with tempfile.TemporaryDirectory(prefix="edgesnn-") as folder:
        yield export_student(
            path, Path(folder) / "bundle", ["onnx"], name=path.resolve().name, on_progress=on_progress
        )


def parity_targets(bundle: Bundle) -> dict[str, str | None]:
    """Every exact runner, with the reason why it cannot run this bundle here, or None.

    Args:
        bundle: The bundle.

    Returns:
        Reasons by runner name; golden first.
    """
    from edgesnn import plugins
    from edgesnn.runners.base import Capability

    reasons: dict[str, str | None] = {}
    for plugin in plugins.available(plugins.RUNNERS):
        if plugin.error is not None:
            reasons[plugin.name] = plugin.error
            continue
        runner = plugins.load_runner(plugin.name)
        if Capability.EXACT in runner.capabilities:
            reasons[plugin.name] = runner.missing()
    return dict(sorted(reasons.items(), key=lambda item: (item[0] != "golden", item[0])))


def verify_bundle(
    bundle: Bundle,
    targets: Sequence[str] | None = None,
    *,
    tokens: int = PARITY_TOKENS,
    on_progress: Progress = _silent,
) -> list[ParityResult]:
    """Compare targets with golden, bit for bit.

    Args:
        bundle: The bundle.
        targets: Names of targets; None for every exact runner that can run here.
        tokens: Tokens to compare at least, per form.
        on_progress: Told what happens.

    Returns:
        One result per target.

    Raises:
        UsageError: A target does not exist or does not run the integer program.
        DeviceError: A target cannot run here, or its engine fails.
    """
    from edgesnn import plugins
    from edgesnn.profiler.verify import golden_cases, parity_ids, verify_runner
    from edgesnn.runners.base import Capability, RunnerOptions
    from edgesnn.targets import parse_target, resolve_target

    if targets is None:
        chosen = [name for name, reason in parity_targets(bundle).items() if reason is None]
    else:
        chosen = [resolve_target(target)[0] for target in targets]
    addresses = (
        {}
        if targets is None
        else {resolve_target(target)[0]: parse_target(target).address for target in targets}
    )
    for target in chosen:
        if Capability.EXACT not in plugins.load_runner(target).capabilities:
            raise UsageError(
                f"target '{target}' does not run the integer program", remedy="see edgesnn list runners"
            )
    program = bundle.program()
    held_out = bundle.eval_slice()
    text = None if held_out is None else held_out.ids
    batches = parity_ids(program, text, tokens)
    on_progress("golden", 0, 1)
    cases = golden_cases(program, batches)
    source = "random token ids" if text is None else "held-out text and random token ids"
    results = []
    for target in chosen:
        with plugins.load_runner(target)() as runner:
            runner.open(bundle, RunnerOptions(address=addresses.get(target)))
            results.append(
                verify_runner(
                    runner,
                    target,
                    program,
                    cases,
                    text=source,
                    on_progress=lambda form, done, total, target=target: on_progress(  # type: ignore[misc]
                        f"{target} {form}", done, total
                    ),
                )
            )
    return results


def profile_bundle(
    path: Path,
    *,
    target: str = "cpu",
    profile: str = "smartglass",
    allow_unmeasured: bool = False,
    threads: int = 1,
    windows: int | None = None,
    min_window_seconds: float | None = None,
    on_progress: Progress = _silent,
) -> Run:
    """Measure a bundle on a target and judge it by a profile.

    Args:
        path: The bundle.
        target: Device or runner; a device takes its fastest runner that is present.
        profile: Name of a profile that ships with edgesnn, or the path of a TOML file.
        allow_unmeasured: Whether missing measurements are excused.
        threads: Threads inside one inference.
        windows: Measurement windows, instead of the profile's.
        min_window_seconds: Least time of a window in seconds, instead of the profile's.
        on_progress: Told what happens.

    Returns:
        The run: record and raw arrays, not written yet.

    Raises:
        UserError: The bundle is unusable.
        UsageError: Target or profile does not exist or is wrong.
        DeviceError: The target cannot run here, or failed.
    """
    from edgesnn import plugins
    from edgesnn.bundle.bundle import TOKENIZER_NAME
    from edgesnn.profiler.accuracy import measure_accuracy
    from edgesnn.profiler.document import session_arrays, session_document
    from edgesnn.profiler.profile import load_profile, override
    from edgesnn.profiler.results import Absent
    from edgesnn.profiler.session import Setting, run_session
    from edgesnn.record.files import make_run
    from edgesnn.record.provenance import collect_provenance
    from edgesnn.runners.base import Capability, RunnerOptions
    from edgesnn.targets import parse_target, resolve_target
    from edgesnn.text.tokenizer import load_tokenizer

    chosen = override(load_profile(profile), windows, min_window_seconds)
    runner_class = plugins.load_runner(resolve_target(target)[0])
    bundle = open_bundle(path)
    tokenizer = load_tokenizer(bundle.file(TOKENIZER_NAME))
    parity: ParityResult | Absent = Absent(f"{runner_class.name} does not run the integer program")
    if Capability.EXACT in runner_class.capabilities:
        parity = verify_bundle(bundle, [target], on_progress=on_progress)[0]
    held_out = bundle.eval_slice()
    accuracy: AccuracyResult | Absent = Absent("the bundle has no held-out text")
    if held_out is not None:
        accuracy = measure_accuracy(
            bundle.program(),
            held_out,
            "held-out text of the bundle",
            on_progress=lambda done, total: on_progress("accuracy on golden", done, total),
        )
    options = RunnerOptions(threads=threads, address=parse_target(target).address)
    with runner_class() as runner:
        device = runner.open(bundle, options)
        result = run_session(
            runner,
            bundle,
            chosen,
            tokenizer,
            accuracy=accuracy,
            parity=parity,
            on_progress=on_progress,
            setting=Setting(target, device, options, allow_unmeasured),
        )
    comparisons = _compare_others(bundle, chosen, result, on_progress)
    document = session_document(result, bundle, comparisons)
    return make_run(document, session_arrays(result), collect_provenance())


def _compare_others(
    bundle: Bundle, profile: Profile, result: SessionResult, on_progress: Progress
) -> list[Comparison]:
    """The other engines of this computer beside the one that was profiled; golden is no engine."""
    from edgesnn import plugins
    from edgesnn.profiler.comparison import compare_forward, no_comparison
    from edgesnn.profiler.results import Absent
    from edgesnn.runners.base import Capability

    comparisons: list[Comparison] = []
    if isinstance(result.latency, Absent):
        return comparisons
    for plugin in plugins.available(plugins.RUNNERS):
        if plugin.name in ("golden", result.runner):
            continue
        if plugin.error is not None:
            comparisons.append(no_comparison(plugin.name, Absent(plugin.error)))
            continue
        runner_class = plugins.load_runner(plugin.name)
        if Capability.STEP not in runner_class.capabilities:
            continue
        reason = runner_class.missing()
        if reason is not None:
            comparisons.append(no_comparison(plugin.name, Absent(reason)))
            continue
        try:
            with runner_class() as runner:
                device = runner.open(bundle, result.setting.options)
                comparisons.append(
                    compare_forward(
                        runner,
                        bundle,
                        profile,
                        result.latency,
                        target=plugin.name,
                        subject_target=result.setting.target,
                        device=device,
                        on_progress=on_progress,
                    )
                )
        except EdgesnnError as error:
            comparisons.append(no_comparison(plugin.name, Absent(error.what)))
    return comparisons


class _RunnerModel:
    """A runner as a language model of float logits."""

    def __init__(self, runner: Runner, scale: float) -> None:
        self._runner = runner
        self._scale = scale

    def prompt(self, ids: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        """Start a new context; logits after the last token."""
        from edgesnn.runners.base import Capability

        if Capability.PREFILL in self._runner.capabilities:
            return self._float(self._runner.prefill(ids[None, :]).logits[0])
        self._runner.reset(1)
        for token in ids[:-1]:
            self._runner.step(token[None])
        return self._float(self._runner.step(ids[-1:]).logits[0])

    def next(self, token: int) -> npt.NDArray[np.float32]:
        """Continue by one token; logits after it."""
        import numpy as np

        return self._float(self._runner.step(np.array([token], np.int64)).logits[0])

    def _float(self, logits: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        import numpy as np

        if np.issubdtype(logits.dtype, np.integer):
            return logits.astype(np.float32) * np.float32(self._scale)
        return logits.astype(np.float32)


def generate_text(
    path: Path,
    prompt: str,
    options: SamplingOptions,
    *,
    target: str = "cpu",
    max_tokens: int = 64,
    raw: bool = False,
    on_progress: Progress = _silent,
) -> Iterator[Piece]:
    """Stream text after a prompt.

    Args:
        path: A bundle or a student artifact.
        prompt: The prompt.
        options: How tokens are chosen.
        target: Where to run.
        max_tokens: At most so many tokens.
        raw: Whether the prompt is taken as it is, without the student's template.
        on_progress: Told what happens before the first token.

    Yields:
        Pieces of text.

    Raises:
        TextError: The prompt has no tokens.
        UserError: Bundle or artifact is unusable.
        DeviceError: The target cannot run here.
    """
    from edgesnn import plugins
    from edgesnn.bundle.bundle import TOKENIZER_NAME
    from edgesnn.runners.base import RunnerOptions
    from edgesnn.targets import parse_target, resolve_target
    from edgesnn.text.generate import generate
    from edgesnn.text.tokenizer import load_tokenizer

    if max_tokens < 1:
        raise UsageError("max-tokens out of range", actual=max_tokens, limit=">= 1")
    with ExitStack() as stack:
        runner_class = plugins.load_runner(resolve_target(target)[0])
        bundle = stack.enter_context(bundle_of(path, on_progress))
        tokenizer = load_tokenizer(bundle.file(TOKENIZER_NAME))
        template = bundle.manifest.text.get("prompt_template")
        end = bundle.manifest.text.get("end_of_text")
        if raw or not template:
            ids = tokenizer.encode_plain(prompt)
        else:
            ids = tokenizer.encode_prompt(prompt, template)
        runner = stack.enter_context(runner_class())
        runner.open(bundle, RunnerOptions(address=parse_target(target).address))
        model = _RunnerModel(runner, bundle.program().logit_scale)
        yield from generate(
            model,
            tokenizer,
            ids,
            options,
            max_tokens=max_tokens,
            stop_token=tokenizer.token_id(end) if end else None,
        )
