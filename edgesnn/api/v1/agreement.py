"""Comparing the files of a student of version 1.0 with torch, and scoring it as it generates."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from edgesnn import plugins
from edgesnn.api.bundles import open_bundle
from edgesnn.api.options import Progress, silent
from edgesnn.api.runners import runner_of
from edgesnn.bundle.bundle import Bundle, EvalSlice
from edgesnn.errors import MissingExtraError, UsageError, missing_extra
from edgesnn.profiler.quality.accuracy import measure_logits
from edgesnn.profiler.quality.agreement import Agreement, JudgedFunction, measure_agreement
from edgesnn.profiler.results import AccuracyResult
from edgesnn.program.artifact import TENSORS_NAME, StudentArtifact, read_tensors
from edgesnn.program.v1_student import NORM_EPS, V1Student, read_v1
from edgesnn.runners.base import Runner, RunnerOptions
from edgesnn.runners.recompute import prefix_logits
from edgesnn.v1_rule import V1_FORM

#: Runners of such students.
V1_RUNNERS = ("onnxruntime-v1", "onnxruntime-v1-fp32")
#: Tokens behind the sentence on agreement in a run record.
NOTE_TOKENS = 500
_SEED = 20_240_601


def verify_v1_bundle(
    bundle: Bundle | str | os.PathLike[str],
    targets: str | Sequence[str] | None = None,
    *,
    tokens: int = 2000,
    on_progress: Progress = silent,
) -> list[Agreement]:
    """Compare the files of a student of version 1.0 with torch, by stated tolerances.

    Args:
        bundle: Its bundle or the folder of it.
        targets: Names of targets, or one of them; None for the float32 and the int8 file.
        tokens: Tokens to run at least, of the bundle's text where it has any, else random ids.
        on_progress: Told what happens.

    Returns:
        One result per target.

    Raises:
        UserError: The bundle is unusable, or a target needs an integer program.
        UsageError: The bundle holds an integer program, or a target does not exist.
        MissingExtraError: torch is not installed.

    Examples:
        >>> [float32] = edgesnn.verify_v1_bundle("v1_bundle", "onnxruntime-v1-fp32", tokens=100)
        >>> float32.failures()
        []
    """
    bundle = open_bundle(bundle)
    if bundle.without_program is None:
        raise UsageError(
            f"bundle '{bundle.name}' holds an integer program, which is compared bit for bit",
            remedy="edgesnn verify, or edgesnn.verify_bundle",
        )
    named = [targets] if isinstance(targets, str) else targets or V1_RUNNERS
    kinds = [runner_of(target, bundle) for target in named]
    reference = torch_reference(bundle)
    results = []
    for kind in kinds:
        with kind() as runner:
            runner.open(bundle, RunnerOptions())
            results.append(_agreement(bundle, runner, reference, tokens, on_progress))
    return results


def torch_reference(bundle: Bundle) -> JudgedFunction:
    """The float student of a bundle in torch, with how near each run came to a threshold.

    Raises:
        MissingExtraError: torch is not installed.
        BundleError: The bundle has no weights.
        ArtifactError: They are not those of its student.
    """
    try:
        from edgesnn.student.v1.model import V1StudentModel
    except ImportError:
        raise missing_extra("torch", "train", "comparing a v1.0 student with its float reference") from None
    student = bundled_student(bundle)
    model = V1StudentModel(student.tensors, student.heads, student.threshold, NORM_EPS)
    return model.judged


def bundled_student(bundle: Bundle) -> V1Student:
    """The student that a bundle was made of.

    Raises:
        BundleError: The bundle has no weights.
        ArtifactError: They are not those of its student.
    """
    tensors = read_tensors(bundle.file(TENSORS_NAME))
    return read_v1(StudentArtifact(bundle.path, dict(bundle.manifest.student), tensors))


def v1_accuracy(
    bundle: Bundle, scored: EvalSlice, text: str, on_progress: Progress, runner: Runner | None = None
) -> AccuracyResult:
    """Bits per byte and top-1 of a student of version 1.0, every place from the tokens up to it alone.

    Args:
        bundle: Its bundle.
        scored: The text.
        text: What the text is.
        on_progress: Told what happens.
        runner: An open runner that holds it; the fastest of this computer by default.

    Raises:
        RunnerError: The engine failed.
    """
    if runner is None:
        with runner_of("cpu", bundle)() as opened:
            opened.open(bundle, RunnerOptions())
            return v1_accuracy(bundle, scored, text, on_progress, opened)
    engine = runner
    return measure_logits(
        lambda ids: prefix_logits(engine, ids),
        bundle.vocab_size,
        scored,
        f"{text}, each token predicted from those before it alone, by {engine.name}",
        on_progress=lambda done, total: on_progress("accuracy, prefix by prefix", done, total),
    )


def v1_notes(bundle: Bundle, runner: Runner, target: str, *, on_progress: Progress) -> list[str]:
    """What a record says of a student of version 1.0: how it runs, and how its file agrees with torch.

    Args:
        bundle: The bundle; nothing is said of one with an integer program.
        runner: An open runner that holds it.
        target: The target, as it was named.
        on_progress: Told what happens.
    """
    if bundle.without_program is None:
        return []
    try:
        agreement = _agreement(bundle, runner, torch_reference(bundle), NOTE_TOKENS, on_progress).sentence()
    except MissingExtraError as error:
        agreement = f"not compared with torch: {error.what}"
    return [f"{target} runs {V1_FORM}", agreement]


def _agreement(
    bundle: Bundle, runner: Runner, reference: JudgedFunction, tokens: int, on_progress: Progress
) -> Agreement:
    export = getattr(plugins.load_runner(runner.name), "export", "")
    sequences, text = _sequences(bundle, tokens)
    return measure_agreement(
        lambda ids: runner.sequence(ids).logits.astype(np.float32, copy=False),
        reference,
        sequences,
        target=runner.name,
        arithmetic="float32" if export.endswith("fp32") else str(bundle.manifest.quantisation.get("int8")),
        text=text,
        on_progress=lambda done, total: on_progress(f"{runner.name} against torch", done, total),
    )


def _sequences(bundle: Bundle, tokens: int) -> tuple[list[npt.NDArray[np.integer]], str]:
    """Token ids to compare on, no sequence longer than the training's, and what they are."""
    held_out, length = bundle.eval_slice(), bundle.context_window
    if held_out is not None:
        part = held_out.first(tokens)
        cut = [ids[a : a + length] for ids in part.documents() for a in range(0, len(ids), length)]
        found: list[npt.NDArray[np.integer]] = [piece for piece in cut if len(piece) > 1]
        if found:
            return found, "the text of the bundle"
    random = np.random.default_rng(_SEED)
    rows = max(1, -(-tokens // length))
    ids = random.integers(0, bundle.vocab_size, (rows, max(length, 2)))
    return list(ids), f"random token ids (seed {_SEED}); the bundle has no text"
