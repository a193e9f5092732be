"""Arrays out of ``.npy`` and ``.npz`` files that anybody may have made: sizes are checked first.

numpy takes a header at its word, zipfile a directory: a file of a few megabytes can ask for all the memory,
and a damaged one ends in one of a dozen errors. Here everything that is wrong is one `ValueError`.
"""

from __future__ import annotations

import io
import math
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Container
from typing import IO, Any

import numpy as np
import numpy.typing as npt

AnyArray = npt.NDArray[Any]

_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
_HEADER_ERRORS = (ValueError, SyntaxError, TypeError, KeyError, OverflowError, RecursionError, MemoryError)
_ARCHIVE_ERRORS = (
    zipfile.BadZipFile, zlib.error, struct.error, NotImplementedError, RuntimeError, EOFError, OSError,
    OverflowError, UnicodeError,
)  # fmt: skip


def array_from(data: bytes) -> AnyArray:
    """The array of an ``.npy`` file.

    Args:
        data: The whole file.

    Returns:
        The array, of its own memory.

    Raises:
        ValueError: It is none, holds Python objects, or has not the bytes that its header says.
    """
    stream = io.BytesIO(data)
    try:
        version = np.lib.format.read_magic(stream)
        shape, fortran, dtype = _HEADERS[version](stream)
        count = math.prod(int(one) for one in shape)
    except (*_HEADER_ERRORS, tokenize.TokenError) as error:
        raise ValueError(f"no array: {error}") from None
    body = memoryview(data)[stream.tell() :]
    if dtype.hasobject or count < 0 or count * dtype.itemsize != len(body):
        raise ValueError(f"{len(body)} bytes for an array {list(shape)} of {dtype}")
    flat = np.frombuffer(body, dtype, count) if len(body) else np.empty(count, dtype)
    return np.array(flat.reshape(shape, order="F" if fortran else "C"))


def arrays_from(stream: IO[bytes], limit: int, names: Container[str] | None = None) -> dict[str, AnyArray]:
    """The arrays of an ``.npz`` file by name.

    Args:
        stream: The file.
        limit: Most bytes that they may have together when unpacked.
        names: Those that are wanted; all by default.

    Raises:
        ValueError: It is no such archive, is damaged, or unpacks to more than the limit.
    """
    arrays: dict[str, AnyArray] = {}
    try:
        with zipfile.ZipFile(stream) as archive:
            members = archive.infolist()
            wanted = [one for one in members if names is None or one.filename.removesuffix(".npy") in names]
            size = sum(one.file_size for one in wanted)
            if size > limit:
                raise ValueError(f"it unpacks to {size:,} bytes, more than {limit:,}")
            if len({one.filename for one in members}) != len(members):
                raise ValueError("two parts have one name")
            for one in wanted:
                with archive.open(one) as part:
                    data = part.read(one.file_size)
                if len(data) != one.file_size or zlib.crc32(data) != one.CRC:
                    raise ValueError(f"the checksum of '{one.filename}' is wrong")
                arrays[one.filename.removesuffix(".npy")] = array_from(data)
    except _ARCHIVE_ERRORS as error:
        raise ValueError(f"{type(error).__name__}: {error}") from None
    return arrays
