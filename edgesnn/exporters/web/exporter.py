"""The web exporter: a folder that any server of static files can serve, with the engine as WebAssembly."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any, ClassVar

from edgesnn import resources
from edgesnn.errors import ExportError, OutputError
from edgesnn.exporters.base import Exporter, ExportResult, ExportSource
from edgesnn.program.snn_format import to_bytes

#: Folder of the export inside a bundle.
FOLDER = "web"
#: Shipped files by role: where they stand, below the folder of the kind ``web``.
SHIPPED = {
    "module": "edgesnn.js",
    "engine_module": "engine.js",
    "tokenizer_module": "tokenizer.js",
    "engine": "engine.wasm",
    "engine_scalar": "engine-scalar.wasm",
    "types": "site/edgesnn.d.ts",
    "page": "site/index.html",
    "page_script": "site/chat.js",
    "page_worker": "site/chat-worker.js",
    "page_style": "site/chat.css",
    "readme": "site/README.md",
}
#: Made files by role.
MADE = {
    "program": "program.snn",
    "tokenizer": "tokenizer.json",
    "student": "student.json",
    "package": "package.json",
}
_NORMALIZERS = {"NFC", "NFD", "NFKC", "NFKD"}


class WebExporter(Exporter):
    """A folder ``web``: ``program.snn``, the engine, a module with types, and a page that chats."""

    name: ClassVar[str] = "web"
    summary: ClassVar[str] = "a page and a module for browsers: the C engine in WebAssembly; exact"

    def export(self, source: ExportSource, folder: Path) -> ExportResult:
        """Write the files.

        Args:
            source: The program, its name, tokenizer and texts.
            folder: An existing, writable folder.

        Returns:
            The files by role, and what a caller in JavaScript must know.

        Raises:
            ExportError: There is no tokenizer, or it does what the module's cannot.
            OutputError: A file cannot be written.
        """
        if source.tokenizer is None:
            raise ExportError("the web export needs the student's tokenizer", actual="none")
        web, made = resources.folder("web"), folder / FOLDER
        try:
            tokenizer = source.tokenizer.read_text(encoding="utf-8")
            if problem := tokenizer_problem(json.loads(tokenizer)):
                raise ExportError(
                    "the web export cannot cut text as this tokenizer does",
                    actual=problem,
                    remedy="leave out --format web",
                )
            made.mkdir(exist_ok=True)
            (made / MADE["program"]).write_bytes(to_bytes(source.program))
            (made / MADE["tokenizer"]).write_text(tokenizer, encoding="utf-8")
            for role, document in (("student", _student(source)), ("package", _package(source))):
                text = json.dumps(document, indent=1, ensure_ascii=False)
                (made / MADE[role]).write_text(text + "\n", encoding="utf-8")
            for path in SHIPPED.values():
                shutil.copyfile(web / path, made / Path(path).name)
        except OSError as error:
            raise OutputError(f"cannot write the web export: {error.strerror or error}") from None
        files = {role: f"{FOLDER}/{Path(path).name}" for role, path in (MADE | SHIPPED).items()}
        return ExportResult(
            files,
            {
                "step": {"inputs": ["token"], "outputs": ["logits"], "api": "Student.step"},
                "generate": {"inputs": ["prompt"], "outputs": ["text"], "api": "Student.generate"},
                "vocab": source.program.vocab_size,
                "logit_exponent": source.program.readout.exponent,
                "program_hash": source.program_hash,
            },
        )


def tokenizer_problem(content: dict[str, Any]) -> str | None:
    """What of a ``tokenizer.json`` the module's tokenizer does not know, or None.

    Args:
        content: The file.
    """
    model = content.get("model") or {}
    if model.get("type") != "BPE":
        return f"model {model.get('type')}, not BPE"
    for kind in (_kind(step) for step in _steps(content.get("normalizer"), "normalizers")):
        if kind not in _NORMALIZERS:
            return f"normalizer {kind}"
    return next(
        (
            f"pre-tokenizer {_kind(step)}"
            for step in _steps(content.get("pre_tokenizer"), "pretokenizers")
            if not _can_cut(step)
        ),
        None,
    )


def _steps(step: dict[str, Any] | None, inner: str) -> list[dict[str, Any]]:
    if step is None:
        return []
    return list(step.get(inner, [])) if step.get("type") == "Sequence" else [step]


def _kind(step: dict[str, Any]) -> str:
    return str(step.get("type"))


def _can_cut(step: dict[str, Any]) -> bool:
    kind = _kind(step)
    if kind == "ByteLevel":
        return not step.get("add_prefix_space")
    if kind == "Split":
        known = step.get("behavior") == "Isolated" and not step.get("invert")
        return known and "Regex" in (step.get("pattern") or {})
    return kind == "Digits"


def _student(source: ExportSource) -> dict[str, str | None]:
    return {
        "name": source.name,
        "program_hash": source.program_hash,
        "prompt_template": source.prompt_template,
        "end_of_text": source.end_of_text,
    }


def _package(source: ExportSource) -> dict[str, Any]:
    name = re.sub(r"[^a-z0-9._-]+", "-", source.name.lower()).strip("-._") or "student"
    return {
        "name": name,
        "version": "1.0.0",
        "description": f"The spiking language model {source.name} for browsers",
        "type": "module",
        "exports": {".": {"types": "./edgesnn.d.ts", "default": "./edgesnn.js"}, "./*": "./*"},
        "types": "./edgesnn.d.ts",
        "sideEffects": False,
    }
