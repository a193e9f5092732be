"""What can run a bundle in a page: the C engine in WebAssembly, or ONNX Runtime."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from edgesnn import __version__, resources
from edgesnn.bundle.bundle import PROGRAM_NAME, Bundle
from edgesnn.errors import RunnerError
from edgesnn.program.ops import Attend
from edgesnn.program.program import Program
from edgesnn.program.state import state_tensors
from edgesnn.runners.browser import assets as browser_assets
from edgesnn.runners.browser.server import Served, read_served
from edgesnn.runners.onnxruntime.guard import check_onnx

#: The export whose files ONNX Runtime runs, and their forms.
EXPORT = "onnx"
_ROLES = ("step", "sequence", "prefill")
#: Files of the C engine by the name that the page asks for.
_ENGINE_FILES = ("engine.js", "engine.wasm", "engine-scalar.wasm")


class PageEngine(ABC):
    """One engine of the page.

    Attributes:
        kind: Its name in the welcome.
        engine: Its name in the record.
        version: Its version.
        format: What it reads.
    """

    kind: ClassVar[str]
    engine: ClassVar[str]
    version: ClassVar[str]
    format: ClassVar[str]

    @abstractmethod
    def files(self, bundle: Bundle) -> dict[str, Served]:
        """What the page fetches for it, by path below the token.

        Raises:
            BundleError: The bundle lacks its files, or one reaches outside itself.
            RunnerError: The engine is not to be had.
        """

    @abstractmethod
    def model_file(self, bundle: Bundle) -> str:
        """The bundle's file that is loaded first."""

    def check(self, threads: int, isolated: bool) -> None:  # noqa: B027  # most say yes
        """Refuse what it cannot do.

        Raises:
            RunnerError: So many threads are not to be had.
        """

    def describe(self, program: Program) -> dict[str, Any]:
        """What it must know of the program besides its file."""
        return {}


class WasmEngine(PageEngine):
    """``program.snn`` in the C engine, compiled for WebAssembly and shipped with edgesnn."""

    kind: ClassVar[str] = "wasm"
    engine: ClassVar[str] = "native-wasm"
    version: ClassVar[str] = f"edgesnn {__version__}"
    format: ClassVar[str] = "program"

    def files(self, bundle: Bundle) -> dict[str, Served]:
        folder = resources.folder("web")
        files = {f"engine/{name}": read_served(folder / name) for name in _ENGINE_FILES}
        return files | {"model/program.snn": read_served(bundle.file(PROGRAM_NAME))}

    def model_file(self, bundle: Bundle) -> str:
        return PROGRAM_NAME

    def check(self, threads: int, isolated: bool) -> None:
        if threads > 1:
            raise RunnerError(
                "the engine of the page runs a sequence on one thread",
                actual=f"{threads} threads asked for",
                limit=1,
                remedy="leave --threads out, or use --target browser:onnxruntime with --https",
            )


class OnnxRuntimeEngine(PageEngine):
    """The bundle's int8 ONNX files in onnxruntime-web."""

    kind: ClassVar[str] = "onnxruntime"
    engine: ClassVar[str] = browser_assets.PACKAGE
    version: ClassVar[str] = browser_assets.VERSION
    format: ClassVar[str] = EXPORT

    def files(self, bundle: Bundle) -> dict[str, Served]:
        files: dict[str, Served] = {}
        for role in _ROLES:
            path = bundle.export_file(EXPORT, role)
            served = read_served(path)
            check_onnx(served.content, path.name)
            files[f"model/{role}.onnx"] = served
        found = browser_assets.assets()
        for name in browser_assets.FILES:
            files[f"ort/{name}"] = read_served(found[name], found.get(f"{name}.gz"))
        return files

    def model_file(self, bundle: Bundle) -> str:
        return bundle.manifest.exports[EXPORT].files["step"]

    def check(self, threads: int, isolated: bool) -> None:
        if threads > 1 and not isolated:
            raise RunnerError(
                "this connection gives the browser no threads",
                actual=f"{threads} threads asked for",
                limit=1,
                remedy="use --https, or --threads 1",
            )

    def describe(self, program: Program) -> dict[str, Any]:
        return {"logit_unit": 1 / program.logit_scale, "state": state_layout(program)}


def state_layout(program: Program) -> list[dict[str, Any]]:
    """The state tensors with where a token's part goes: rings as ``[head, first slot, slots]``."""
    rings = {
        op.name: [[head, first, size] for head, (first, size) in enumerate(op.rings) if size > 0]
        for op in program.all(Attend)
    }
    return [
        {
            "name": tensor.name,
            "kind": tensor.kind,
            "shape": list(tensor.shape),
            "rings": rings.get(tensor.op, []),
        }
        for tensor in state_tensors(program)
    ]
