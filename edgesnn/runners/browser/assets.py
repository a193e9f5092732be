"""ONNX Runtime for browsers: three files of the npm package ``onnxruntime-web``, one pinned version.

    python -m edgesnn.runners.browser.assets [--from FOLDER]

fetches them with npm, by npm's own configuration, into the user's cache. Every file is checked against its
SHA-256, wherever it comes from. Where npm cannot reach a registry, ``EDGESNN_ONNXRUNTIME_WEB`` or ``--from``
names a folder that holds the files: ``dist`` of the package.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import zlib
from pathlib import Path

from edgesnn.children import ending, last_words
from edgesnn.errors import EdgesnnError, RunnerError
from edgesnn.resources import cache_folder
from edgesnn.scratch import ScratchFolder

PACKAGE = "onnxruntime-web"
VERSION = "1.30.0"
#: SHA-256 of the files that a page needs for the WebAssembly backend.
FILES = {
    "ort.wasm.min.mjs": "219e6a1fc8a9938268d18efca3c91d310bd2f4a59bbd13744df5b2b7fc6cee3b",
    "ort-wasm-simd-threaded.mjs": "e13f7f94fc51b4ca72b12faeb1ee95f4ace6dfbc8939bc718aabdc0a27c4299b",
    "ort-wasm-simd-threaded.wasm": "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2",
}
#: The one file that is worth compressing, once: 14.2 MB become 3.7.
LARGEST = "ort-wasm-simd-threaded.wasm"
OWN_FOLDER = "EDGESNN_ONNXRUNTIME_WEB"
_FETCH = "python -m edgesnn.runners.browser.assets"
_FETCH_SECONDS = 300
_REMEDY = f"{_FETCH}; without npm: --from FOLDER with the files of {PACKAGE} {VERSION}"


def missing() -> str | None:
    """Why the files are not here and cannot be fetched, or None."""
    own = os.environ.get(OWN_FOLDER)
    if own:
        lacking = [name for name in FILES if not (Path(own) / name).is_file()]
        return f"{OWN_FOLDER} names a folder without {', '.join(lacking)}" if lacking else None
    if _is_whole(_folder()) or shutil.which("npm"):
        return None
    return f"{PACKAGE} {VERSION} is not in the cache and there is no npm; remedy: {_REMEDY}"


def assets() -> dict[str, Path]:
    """The checked files by name, fetched when they are not there yet.

    Returns:
        Paths; beside the largest file its gzip form, under its name with ``.gz``, where the cache has it.

    Raises:
        RunnerError: A file is missing, is another one, or cannot be fetched.
    """
    own = os.environ.get(OWN_FOLDER)
    folder = Path(own) if own else _folder()
    if not own and not _is_whole(folder):
        fetch()
    found = {name: _checked(folder / name) for name in FILES}
    packed = folder / f"{LARGEST}.gz"
    return found | ({packed.name: packed} if _unpacks_to_the_pinned_file(packed) else {})


def fetch(source: Path | None = None) -> Path:
    """Put the files into the cache.

    Args:
        source: A folder that holds them; None fetches the package with npm.

    Returns:
        The folder in the cache.

    Raises:
        RunnerError: npm is missing or failed, a file is missing or another one, or the cache cannot be
            written.
    """
    target = _folder()
    try:
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with ScratchFolder("download", target.parent) as scratch:
            work = scratch.path
            if source is None:
                source = _unpacked(work)
            made = work / "made"
            made.mkdir()
            for file in FILES:
                shutil.copyfile(_checked(source / file), made / file)
            with (made / LARGEST).open("rb") as plain, gzip.open(made / f"{LARGEST}.gz", "wb") as packed:
                shutil.copyfileobj(plain, packed)
            if target.exists():
                shutil.rmtree(target, ignore_errors=True)
            try:
                made.rename(target)
            except OSError:
                if not _is_whole(target):  # another process was faster, which is as good
                    raise
    except OSError as error:
        raise RunnerError(
            f"{PACKAGE} cannot be kept in '{target}': {error.strerror or error}",
            remedy="set EDGESNN_CACHE to a folder that can be written",
        ) from None
    return target


def _folder() -> Path:
    return cache_folder(f"{PACKAGE}-{VERSION}")


def _is_whole(folder: Path) -> bool:
    return all((folder / name).is_file() for name in FILES)


def _checked(path: Path) -> Path:
    """A file that is the pinned one.

    Raises:
        RunnerError: It is missing or another one.
    """
    try:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise RunnerError(
            f"file '{path.name}' of {PACKAGE} cannot be read: {error.strerror or error}", remedy=_REMEDY
        ) from None
    if digest != FILES[path.name]:
        raise RunnerError(
            f"file '{path.name}' is not that of {PACKAGE} {VERSION}",
            actual=digest,
            limit=FILES[path.name],
            remedy=_REMEDY,
        )
    return path


def _unpacks_to_the_pinned_file(packed: Path) -> bool:
    try:
        content = gzip.decompress(packed.read_bytes())
    except (OSError, EOFError, zlib.error):
        return False
    return hashlib.sha256(content).hexdigest() == FILES[LARGEST]


def _unpacked(work: Path) -> Path:
    """The package, fetched by npm and unpacked: the folder with its files."""
    npm = shutil.which("npm")
    if npm is None:
        raise RunnerError(f"{PACKAGE} {VERSION} is not in the cache and there is no npm", remedy=_REMEDY)
    command = [npm, "pack", f"{PACKAGE}@{VERSION}", "--silent", "--pack-destination", str(work)]
    try:
        done = subprocess.run(
            command, cwd=work, capture_output=True, text=True, timeout=_FETCH_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise RunnerError(f"npm did not fetch {PACKAGE}: {error}", remedy=_REMEDY) from None
    archives = sorted(work.glob("*.tgz"))
    if done.returncode != 0 or not archives:
        raise RunnerError(
            f"npm did not fetch {PACKAGE}: {last_words(done.stderr)}",
            actual=ending(done.returncode),
            remedy=_REMEDY,
        )
    unpacked = work / "unpacked"
    unpacked.mkdir()
    try:
        with tarfile.open(archives[0]) as archive:
            for file in FILES:
                member = archive.extractfile(f"package/dist/{file}")
                if member is not None:
                    (unpacked / file).write_bytes(member.read())
    except (tarfile.TarError, KeyError) as error:
        raise RunnerError(f"the package that npm fetched is not {PACKAGE}: {error}", remedy=_REMEDY) from None
    return unpacked


def main(arguments: list[str] | None = None) -> int:
    """Fetch the files and say where they are."""
    parser = argparse.ArgumentParser(prog=_FETCH, description=__doc__)
    parser.add_argument("--from", dest="source", type=Path, help="a folder that holds the files")
    given = parser.parse_args(arguments)
    try:
        folder = fetch(given.source)
    except EdgesnnError as error:
        print(f"error: {error.sentence()}", file=sys.stderr)
        return error.exit_code
    print(f"{PACKAGE} {VERSION} is in {folder}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
