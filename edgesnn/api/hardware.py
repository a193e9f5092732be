"""`SNNHardwareProfiler`: latency, power and accuracy of one student, as three calls."""

from __future__ import annotations

import os
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from edgesnn import plugins
from edgesnn.api.background.scored_text import ScoredText, scored_slice
from edgesnn.api.bundles import bundle_of
from edgesnn.api.measuring.quality import text_accuracy
from edgesnn.api.measuring.subjects import profile_for
from edgesnn.api.options import ProfileOptions, Progress, silent
from edgesnn.api.profiling import profile_bundle
from edgesnn.api.runners import export_of, runner_of
from edgesnn.api.v1.agreement import v1_accuracy
from edgesnn.bundle.bundle import TOKENIZER_NAME, Bundle
from edgesnn.closing import Closing
from edgesnn.errors import RunnerError, TextError, UndecidedError, UsageError
from edgesnn.profiler.budgets.profile import FramesProfile
from edgesnn.profiler.counts.activity import count_activity
from edgesnn.profiler.counts.energy import report_energy
from edgesnn.profiler.latency.session import LatencySession, measure_latency
from edgesnn.profiler.quality.accuracy import measure_accuracy
from edgesnn.profiler.results import Absent, AccuracyResult
from edgesnn.profiler.setting import workload_ids
from edgesnn.record.quantities import Kind
from edgesnn.runners.base import DeviceInfo, RunnerOptions
from edgesnn.runners.recompute import stepping
from edgesnn.targets import parse_target, resolve_target
from edgesnn.text.tokenizer import load_tokenizer

#: Tokens over which an estimated power is counted; every prefix of them is run.
ESTIMATE_TOKENS = 32
#: The estimate that power is made of: operations, weights and state.
ESTIMATE = "with_memory"
NEEDS_METER = (
    "attach a power meter to the device's supply and name it, for example meter='ppk2:SERIAL?voltage=3.7' "
    "(Nordic PPK2), 'ina228' or 'sim:ina228' (simulated); or ask for estimate=True"
)
_UW_PER_MW = 1000.0


class SNNHardwareProfiler(Closing):
    """Measures one student on one target, with the code behind ``edgesnn profile``.

    A context that removes what it made; without ``with``, `close` does so, or the end of the process.

    Args:
        model_path: A bundle, its folder, a student artifact, its ``student.pt``, or ``reference``.
        target: Device or runner.
        profile: Name or path of the profile that says how long and how often; no budget is judged.
        threads: Threads inside one inference.
        on_progress: Told what happens.

    Attributes:
        model_path: The model.
        target: Device or runner.

    Raises:
        UserError: Bundle or artifact is unusable.
        UsageError: Target or profile does not exist or is wrong.
        DeviceError: The target cannot run here.

    Examples:
        >>> with edgesnn.SNNHardwareProfiler("bundle", profile="quick") as profiler:
        ...     latency = profiler.profile_latency()
        ...     accuracy = profiler.profile_accuracy(["The report is ready.", "Buy milk and bread."])
        >>> latency["kind"], accuracy["documents"]
        ('MEASURED', 2)
    """

    def __init__(
        self,
        model_path: Bundle | str | os.PathLike[str],
        *,
        target: str = "cpu",
        profile: str | os.PathLike[str] = "smartglass",
        threads: int = 1,
        on_progress: Progress = silent,
    ) -> None:
        self.target = target
        self._options = RunnerOptions(threads=threads, address=parse_target(target).address)
        self._on_progress = on_progress
        self._profile_name = profile
        found, _ = profile_for(ProfileOptions(target=target, profile=profile))
        if isinstance(found, FramesProfile):
            raise UsageError(
                f"profile '{found.name}' times frames, and this profiler is one of language models",
                remedy="edgesnn.profile_bundle profiles networks that read frames",
            )
        self._profile = found
        self.model_path = model_path.path if isinstance(model_path, Bundle) else Path(model_path)
        first = export_of(plugins.load_runner(resolve_target(target)[0]))
        self._stack = ExitStack()
        made = bundle_of(model_path, on_progress, [] if first is None else [first])
        self._bundle: Bundle = self._stack.enter_context(made)
        self._latency: tuple[LatencySession, DeviceInfo] | None = None

    def profile_latency(self) -> dict[str, Any]:
        """Time one generated token with full context: tokenise share, forward pass, text decode.

        Returns:
            ``mean_ms``, ``p50_ms``, ``p95_ms`` with ``p95_interval_ms`` (95 %), ``p99_ms`` with
            ``p99_interval_ms``, ``min_ms``, ``max_ms``, ``n``, ``tokens_per_second``, ``context``,
            ``clock``, ``target``, ``device``, ``engine``, ``kind`` (MEASURED or SIMULATED) and ``note``, what
            the sample cannot say of p99, or None.

        Raises:
            DeviceError: The target cannot run one token at a time, failed, or contradicts itself.
        """
        latency, device = self._latency = self._measure()
        summary = latency.per_token
        p95, p99 = summary.percentile(0.95), summary.percentile(0.99)
        return {
            "mean_ms": summary.mean_ms,
            "p50_ms": summary.percentile(0.5).value_ms,
            "p95_ms": p95.value_ms,
            "p95_interval_ms": (p95.lower_ms, p95.upper_ms),
            "p99_ms": p99.value_ms,
            "p99_interval_ms": (p99.lower_ms, p99.upper_ms),
            "min_ms": summary.min_ms,
            "max_ms": summary.max_ms,
            "n": summary.n,
            "tokens_per_second": latency.tokens_per_second,
            "context": latency.context,
            "clock": latency.clock,
            "target": self.target,
            "device": device.device,
            "engine": f"{device.engine} {device.engine_version}",
            "kind": str(Kind.SIMULATED if device.simulated else Kind.MEASURED),
            "note": summary.p99_note,
        }

    def profile_power(self, meter: str | None = None, *, estimate: bool = False) -> dict[str, Any]:
        """Power of continuous generation: from a meter, or ESTIMATED when asked.

        The estimate is the energy of a token by the table of energies that ships with edgesnn, operations and
        memory, times the measured rate of tokens. It speaks of a chip of that table that keeps this rate,
        not of the processor that was timed.

        Args:
            meter: Address of a power meter, for example ``ppk2:SERIAL``.
            estimate: Whether to estimate without one.

        Returns:
            ``mean_mw``, ``peak_mw``, ``energy_per_token_uj``, ``tokens_per_second``, ``kind`` and ``how``.
            Estimated, ``peak_mw`` is the busiest of the counted tokens at the same rate; shorter peaks are
            not known.

        Raises:
            UsageError: There is no meter and no estimate was asked for, or both were.
            DeviceError: The target or the meter failed.
        """
        if meter is not None:
            if estimate:
                raise UsageError("power is measured or estimated", remedy="leave meter or estimate out")
            return self._metered_power(meter)
        if not estimate:
            raise UsageError("power needs a meter, and none was named", remedy=NEEDS_METER)
        latency, _ = self._latency = self._latency or self._measure()
        ids, text = workload_ids(self._bundle)
        energies = _token_energies_uj(self._bundle, np.resize(ids, ESTIMATE_TOKENS))
        rate = latency.tokens_per_second
        return {
            "mean_mw": float(energies.mean()) * rate / _UW_PER_MW,
            "peak_mw": float(energies.max()) * rate / _UW_PER_MW,
            "energy_per_token_uj": float(energies.mean()),
            "tokens_per_second": rate,
            "kind": str(Kind.ESTIMATED),
            "how": (
                f"ESTIMATED, not measured: energy of a token ({ESTIMATE}) counted over {len(energies)} "
                f"tokens of {text}, times the measured rate of '{self.target}'; peak is the busiest token"
            ),
        }

    def profile_accuracy(self, test_data: ScoredText | None = None) -> dict[str, Any]:
        """Top-1 of the next token on held-out text, on golden; every exact target gives the same.

        Args:
            test_data: A path (text, JSON lines or CSV of prompts and responses, ``eval.npz``), texts,
                mappings with ``prompt`` and ``response``, or token ids ``[length]`` or several of these; None
                takes the bundle's held-out text, as much as the profile asks for.

        Returns:
            ``accuracy`` (share of next tokens that were right, 0..1) with ``accuracy_interval`` (95 %,
            documents drawn with replacement, or None), ``bits_per_byte``, ``perplexity`` and in
            ``perplexity_per`` of what: of the teacher's native tokens where they are known, else of the
            student's own; ``own_perplexity`` per token of the student, ``retention`` or None,
            ``teacher_doubt`` (why retention says nothing, or None),
            ``tokens``, ``documents``, ``text`` and ``kind``.

        Raises:
            TextError: There is no text, or one is too short to predict anything.
            TrainingError: The file is missing or malformed.
        """
        if test_data is None:
            result = text_accuracy(self._bundle, self._profile, self._on_progress)
            if isinstance(result, Absent):
                raise TextError(result.reason, remedy="give texts: profile_accuracy(test_data)")
        else:
            result = self._accuracy_on(test_data)
        native = result.perplexity is not None
        return {
            "accuracy": result.top1,
            "accuracy_interval": result.top1_interval,
            "bits_per_byte": result.bits_per_byte,
            "perplexity": result.perplexity if native else result.own_perplexity,
            "perplexity_per": "native token of the teacher" if native else "token of the student",
            "own_perplexity": result.own_perplexity,
            "retention": result.retention,
            "teacher_doubt": result.teacher_doubt,
            "tokens": result.tokens,
            "documents": result.documents,
            "text": result.text,
            "kind": str(Kind.MEASURED),
        }

    def close(self) -> None:
        """Remove what was made for the profiler; safe to call twice."""
        self._stack.close()

    def _measure(self) -> tuple[LatencySession, DeviceInfo]:
        bundle = self._bundle
        ids, _ = workload_ids(bundle)
        workload = self._profile.workload.model_copy(update={"first_tokens": 0})
        tokenizer = load_tokenizer(bundle.file(TOKENIZER_NAME))
        with runner_of(self.target, bundle)() as runner:
            device = runner.open(bundle, self._options)
            if device.instruction_ns is not None:
                raise UsageError(
                    f"target '{self.target}' is emulated: it counts instructions and has no latency",
                    remedy="edgesnn.profile_bundle gives its instructions per token",
                )
            latency = measure_latency(
                stepping(runner, workload.context or bundle.context_window, tokenizer.vocab_size),
                workload,
                tokenizer,
                ids,
                context_window=bundle.context_window,
                on_progress=self._on_progress,
            )
        if latency.invalid is not None:
            raise RunnerError(f"target '{self.target}' contradicts itself", actual=latency.invalid)
        return latency, device

    def _metered_power(self, meter: str) -> dict[str, Any]:
        """Power by a meter, from a whole metered session.

        Raises:
            UndecidedError: No window was valid.
        """
        run = profile_bundle(
            self._bundle,
            target=self.target,
            profile=self._profile_name,
            threads=self._options.threads,
            allow_unmeasured=True,
            compare=False,
            meter=meter,
            on_progress=self._on_progress,
        )
        found = run.record.quantities
        mean, peak, energy = (found[name] for name in ("power.mean", "power.peak", "energy.per_token"))
        if mean.value is None:
            raise UndecidedError("the meter gave no power", actual=mean.reason)
        return {
            "mean_mw": mean.value,
            "mean_mw_interval": (mean.lower, mean.upper),
            "peak_mw": peak.value,
            "energy_per_token_uj": energy.value,
            "tokens_per_second": found["throughput.generated"].value,
            "kind": mean.kind,
            "how": mean.how or "",
        }

    def _accuracy_on(self, test_data: ScoredText) -> AccuracyResult:
        scored, text = scored_slice(test_data, self._bundle)
        if self._bundle.without_program is not None:
            return v1_accuracy(self._bundle, scored, text, self._on_progress)
        result = measure_accuracy(
            self._bundle.program(),
            scored,
            text,
            on_progress=lambda done, total: self._on_progress("accuracy on golden", done, total),
        )
        if scored.positions is not None:
            return result
        return replace(result, retention_reason="no teacher answered these texts")


def _token_energies_uj(
    bundle: Bundle, ids: np.ndarray[tuple[int], np.dtype[np.int32]]
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Estimated energy of every token: what a prefix costs beyond the one before it; counts are sums."""
    program = bundle.program()
    sums = [0.0]
    for length in range(1, len(ids) + 1):
        report = report_energy(count_activity(program, ids[:length]).work)
        per_token = next(one.total_uj for one in report.estimates if one.name == ESTIMATE)
        sums.append(per_token * length)
    return np.diff(np.array(sums))
