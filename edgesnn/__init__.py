"""edgesnn: one integer program for a spiking language model, the same bits on every device.

Every name below is imported when it is first used; what trains needs the extra ``train``. A verb takes the
path of a bundle or a `Bundle` that is open. All of it with examples: docs/api.md.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# Libraries that report home read these when they are imported: ONNX Runtime from 1.31 on looks up its maker's
# event server and keeps a database of events. Every process of ours begins here, and children inherit it.
for _switch in ("ORT_DISABLE_TELEMETRY", "HF_HUB_DISABLE_TELEMETRY", "DO_NOT_TRACK"):
    os.environ.setdefault(_switch, "1")

if TYPE_CHECKING:  # `PUBLIC` once more, as type checkers and editors read it; a test holds the two together
    from edgesnn.api.all_targets import AllProfiled as AllProfiled
    from edgesnn.api.all_targets import profile_all as profile_all
    from edgesnn.api.background.trainer import SNNDistillationTrainer as SNNDistillationTrainer
    from edgesnn.api.bundles import open_bundle as open_bundle
    from edgesnn.api.comparing import compare_runs as compare_runs
    from edgesnn.api.comparing import update_baselines as update_baselines
    from edgesnn.api.generation import GeneratedText as GeneratedText
    from edgesnn.api.generation import generate_text as generate_text
    from edgesnn.api.hardware import SNNHardwareProfiler as SNNHardwareProfiler
    from edgesnn.api.interleaving import Interleaved as Interleaved
    from edgesnn.api.interleaving import profile_interleaved as profile_interleaved
    from edgesnn.api.listing import list_available as list_available
    from edgesnn.api.mapping import Mapping as Mapping
    from edgesnn.api.mapping import map_bundle as map_bundle
    from edgesnn.api.metering import measure_power as measure_power
    from edgesnn.api.nir.importing import ImportedNetwork as ImportedNetwork
    from edgesnn.api.nir.importing import ImportOptions as ImportOptions
    from edgesnn.api.nir.importing import frames_formats as frames_formats
    from edgesnn.api.nir.importing import import_network as import_network
    from edgesnn.api.nir.writing import NirExport as NirExport
    from edgesnn.api.nir.writing import export_nir as export_nir
    from edgesnn.api.options import ProfileOptions as ProfileOptions
    from edgesnn.api.profiling import profile_bundle as profile_bundle
    from edgesnn.api.reporting import report_run as report_run
    from edgesnn.api.runs import Run as Run
    from edgesnn.api.runs import read_run as read_run
    from edgesnn.api.runs import write_run as write_run
    from edgesnn.api.runtime.backend import SNNLLMBackend as SNNLLMBackend
    from edgesnn.api.students import compile_student as compile_student
    from edgesnn.api.students import export_student as export_student
    from edgesnn.api.students import format_reasons as format_reasons
    from edgesnn.api.students import read_student as read_student
    from edgesnn.api.students import train_student as train_student
    from edgesnn.api.v1.agreement import verify_v1_bundle as verify_v1_bundle
    from edgesnn.api.v1.exporting import V1ExportOptions as V1ExportOptions
    from edgesnn.api.v1.upgrading import read_v1_student as read_v1_student
    from edgesnn.api.v1.upgrading import upgrade_student as upgrade_student
    from edgesnn.api.verification import parity_targets as parity_targets
    from edgesnn.api.verification import verify_bundle as verify_bundle
    from edgesnn.bundle.bundle import Bundle as Bundle
    from edgesnn.errors import EdgesnnError as EdgesnnError
    from edgesnn.meters.samples.trace import Trace as Trace
    from edgesnn.record.model import Parity as Parity
    from edgesnn.record.model import RunRecord as RunRecord
    from edgesnn.record.quantities import Quantity as Quantity
    from edgesnn.reports.comparing.result import RunComparison as RunComparison
    from edgesnn.student import SNNDistillationConfig as SNNDistillationConfig
    from edgesnn.student import TrainConfig as TrainConfig
    from edgesnn.student import create_default_config as create_default_config
    from edgesnn.student import save_default_config as save_default_config
    from edgesnn.text.generate import GeneratedToken as GeneratedToken
    from edgesnn.text.sampling import SamplingOptions as SamplingOptions

#: Every public name, in the order of the way through the house: its module, and what it is.
PUBLIC = {
    "train_student": ("api.students", "Distil a teacher, or text alone, into a student artifact."),
    "TrainConfig": ("student", "What `train_student` is told."),
    "SNNDistillationTrainer": ("api.background.trainer", "From a teacher to an exported, scored student."),
    "SNNDistillationConfig": ("student", "What `SNNDistillationTrainer` is told."),
    "create_default_config": ("student", "The configuration of a small distillation."),
    "save_default_config": ("student", "The same, written as a file."),
    "read_student": ("api.students", "Read a student artifact."),
    "compile_student": ("api.students", "Fold and compile a student artifact."),
    "export_student": ("api.students", "Compile a student and write the bundle that devices run."),
    "format_reasons": ("api.students", "The formats, and why one cannot be written here."),
    "frames_formats": ("api.nir.importing", "The formats of networks that read frames."),
    "import_network": ("api.nir.importing", "Make a program of another library's network."),
    "ImportOptions": ("api.nir.importing", "What a NIR file does not say."),
    "ImportedNetwork": ("api.nir.importing", "What `import_network` made, and what it cost."),
    "export_nir": ("api.nir.writing", "Write what NIR can say of a program, for other libraries."),
    "NirExport": ("api.nir.writing", "What `export_nir` wrote."),
    "open_bundle": ("api.bundles", "Open a bundle and verify every hash."),
    "read_v1_student": ("api.v1.upgrading", "Read a student of version 1.0."),
    "V1ExportOptions": ("api.v1.exporting", "What the export of a v1.0 student is told besides."),
    "verify_v1_bundle": ("api.v1.agreement", "Compare the files of a v1.0 student with torch."),
    "upgrade_student": ("api.v1.upgrading", "Distil a v1.0 student into a deployable one."),
    "Bundle": ("bundle.bundle", "An open bundle."),
    "verify_bundle": ("api.verification", "Compare targets with golden, bit for bit."),
    "parity_targets": ("api.verification", "The targets that run the integer program, and why one cannot."),
    "Parity": ("record.model", "How one target compares with golden."),
    "generate_text": ("api.generation", "Stream text after a prompt."),
    "SamplingOptions": ("text.sampling", "How the next token is chosen."),
    "GeneratedText": ("api.generation", "Text that is being made."),
    "GeneratedToken": ("text.generate", "One piece of it."),
    "SNNLLMBackend": ("api.runtime.backend", "A student as the language model of an agent."),
    "profile_bundle": ("api.profiling", "Measure a bundle on a target and judge it by a profile."),
    "profile_all": ("api.all_targets", "Measure a bundle on every target that is usable here."),
    "profile_interleaved": ("api.interleaving", "Measure two bundles on one target in turns."),
    "ProfileOptions": ("api.options", "How a bundle is profiled."),
    "AllProfiled": ("api.all_targets", "What `profile_all` found."),
    "Interleaved": ("api.interleaving", "What `profile_interleaved` found."),
    "SNNHardwareProfiler": ("api.hardware", "Latency, power and accuracy of one student, as three calls."),
    "Run": ("api.runs", "A run record and its raw arrays; shows and draws itself."),
    "RunRecord": ("record.model", "The record: verdict, budgets, quantities, setting."),
    "Quantity": ("record.quantities", "One number with unit and interval, or why it is missing."),
    "read_run": ("api.runs", "Read a run record and its raw arrays."),
    "write_run": ("api.runs", "Write a run."),
    "map_bundle": ("api.mapping", "Set a bundle against a neuromorphic chip."),
    "Mapping": ("api.mapping", "What `map_bundle` found."),
    "compare_runs": ("api.comparing", "Compare runs with a base: the gate in CI."),
    "RunComparison": ("reports.comparing.result", "What got worse, better, or stayed."),
    "update_baselines": ("api.comparing", "Add runs to the baselines of a folder."),
    "report_run": ("api.reporting", "Write a run, or a run against its base, as one offline page."),
    "measure_power": ("api.metering", "Read a power meter for some time."),
    "Trace": ("meters.samples.trace", "Samples of a power meter: means, peaks, markers."),
    "list_available": ("api.listing", "List targets, devices, runners, meters, chips and more."),
    "EdgesnnError": ("errors", "Base of every error: what is wrong, actual value, limit, remedy."),
}
__all__ = ["__version__", *PUBLIC]  # noqa: PLE0604 - the keys are strings
__doc__ = f"{__doc__}\n" + "\n".join(f"{name:<24}{line}" for name, (_, line) in PUBLIC.items())


def __dir__() -> list[str]:
    return __all__


def __getattr__(name: str) -> Any:
    """Import a public name from its module."""
    if name not in PUBLIC:
        raise AttributeError(
            f"module 'edgesnn' has no attribute '{name}'", name=name, obj=sys.modules[__name__]
        )
    return getattr(import_module(f"edgesnn.{PUBLIC[name][0]}"), name)
