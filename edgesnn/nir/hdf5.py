"""HDF5 files that anybody may have made, read strictly into plain arrays.

An HDF5 file can point out of itself (external links, external storage, virtual datasets), run in circles
(hard and soft links), promise more than a machine holds (huge shapes, huge chunks) and ask for code (filters
as plug-ins). NIR needs none of that, so each is a problem with the path at which it stands; everything that
is wrong is found before anything is raised.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from edgesnn.errors import NetworkError, missing_extra

Array: TypeAlias = npt.NDArray[Any]
#: A group as a dict; text as str; everything else as an array of numbers or of text.
Tree: TypeAlias = dict[str, "Tree | Array | str"]

#: Sanity limits, far above networks for which the integer program is meant.
BYTES_MAX, OBJECTS_MAX, DEPTH_MAX = 2**30, 20_000, 16
#: What HDF5 ships with itself: shuffle, Fletcher-32, deflate; and h5py's lzf. Others would be plug-ins.
_FILTERS = frozenset({1, 2, 3, 32000})
_NUMBERS = "biuf"
REMEDY = "write it again with nir.write(FILE, graph)"
#: What h5py raises for what is damaged.
_DAMAGE = (OSError, RuntimeError, ValueError, KeyError, TypeError, MemoryError, OverflowError)


def read_tree(path: Path, problems: list[str]) -> Tree:
    """Everything in an HDF5 file.

    Args:
        path: The file.
        problems: Gets a sentence for every object that is refused; it is then missing in the tree.

    Returns:
        Groups as dicts, datasets as arrays, text as str.

    Raises:
        MissingExtraError: h5py is not installed.
        NetworkError: The file is missing or no HDF5.
    """
    try:
        import h5py
    except ImportError:
        raise missing_extra("h5py", "nir", "reading NIR files") from None
    try:
        with h5py.File(path, "r") as file:
            return _Reader(h5py, problems).group(file, "", 0)
    except IsADirectoryError:
        raise NetworkError(path, ["it is a folder, not a file"]) from None
    except FileNotFoundError:
        raise NetworkError(path, ["there is no such file"]) from None
    except _DAMAGE as error:
        raise NetworkError(
            path,
            [f"it is no HDF5 file that can be read: {_first_line(error)}"],
            remedy=REMEDY,
        ) from None


def _first_line(error: Exception) -> str:
    said = error.args[0] if isinstance(error, KeyError) and error.args else error  # str() would quote a key
    return str(said).partition("\n")[0] or type(error).__name__


class _Reader:
    """One walk through a file.

    Args:
        h5py: The package.
        problems: Gets what is refused.
    """

    def __init__(self, h5py: Any, problems: list[str]) -> None:
        self._h5py, self._problems = h5py, problems
        self._objects = self._bytes = 0

    def group(self, group: Any, path: str, depth: int) -> Tree:
        """A group and all that is below it."""
        tree: Tree = {}
        for name in group:
            where = f"{path}/{name}"
            self._objects += 1
            if self._objects > OBJECTS_MAX or depth > DEPTH_MAX:
                if not any("more objects" in one for one in self._problems):
                    self._problems.append(
                        f"{where}: the file has more objects or deeper groups than a network: "
                        f"{OBJECTS_MAX:,} and {DEPTH_MAX}"
                    )
                return tree
            link = group.get(name, getlink=True)
            if isinstance(link, self._h5py.ExternalLink):
                self._problems.append(f"{where}: a link to another file, '{link.filename}'")
            elif isinstance(link, self._h5py.SoftLink):
                self._problems.append(f"{where}: a symbolic link, to '{link.path}'")
            else:
                self._hard(group[name], tree, name, where, depth)
        return tree

    def _hard(self, item: Any, tree: Tree, name: str, where: str, depth: int) -> None:
        if isinstance(item, self._h5py.Group):
            tree[name] = self.group(item, where, depth + 1)
        elif isinstance(item, self._h5py.Dataset):
            try:
                reason = self._refuse(item)
                if reason is None:
                    tree[name] = self._value(item)
            except _DAMAGE as error:
                reason = f"damaged: {_first_line(error)}"
            if reason is not None:
                self._problems.append(f"{where}: {reason}")
        else:
            self._problems.append(f"{where}: neither a group nor an array")

    def _refuse(self, data: Any) -> str | None:
        """Why a dataset is not read, or None."""
        if data.shape is None:
            return "an array without a shape"
        plist = data.id.get_create_plist()
        if plist.get_external_count():
            return f"its data are in another file, '{plist.get_external(0)[0].decode('utf-8', 'replace')}'"
        if data.is_virtual:
            return "a virtual array, made of other files"
        text = self._h5py.check_string_dtype(data.dtype)
        if text is None and data.dtype.kind not in _NUMBERS:
            return f"an array of {data.dtype}, not of numbers or text"
        filters = {plist.get_filter(i)[0] for i in range(plist.get_nfilters())}
        if filters - _FILTERS:
            return f"compressed by a plug-in, filter {min(filters - _FILTERS)}"
        size = math.prod(int(n) for n in data.shape) * data.dtype.itemsize
        chunk = math.prod(int(n) for n in data.chunks or ()) * data.dtype.itemsize
        if size + self._bytes > BYTES_MAX or chunk > BYTES_MAX:
            return (
                f"of shape {list(data.shape)}, too large: the arrays of a file may have {BYTES_MAX:,} bytes"
            )
        self._bytes += size
        return None

    def _value(self, data: Any) -> Array | str:
        if self._h5py.check_string_dtype(data.dtype) is None:
            return np.asarray(data[()])
        text = data.asstr("utf-8", "strict")[()]
        return text if isinstance(text, str) else np.asarray(text, object)
