"""The container of a recording: a zip archive that is written once, front to back, and survives a crash.

Sizes and checksums stand in every member's own header, so what was written before a crash is found by
walking from header to header, without the directory at the end. Layout: PKWARE APPNOTE 6.3.10, sections
4.3.7 (local header), 4.3.12 (directory), 4.3.14 to 4.3.16 (its end, also in 64 bits) and 4.5.3 (sizes in
64 bits).
"""

from __future__ import annotations

import io
import re
import struct
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from edgesnn.errors import RecordingError

_LOCAL = struct.Struct("<4s5H3L2H")
_DIRECTORY = struct.Struct("<4s6H3L5H2L")
_END64 = struct.Struct("<4sQ2H2L4Q")
_LOCATOR64 = struct.Struct("<4sLQL")
_END = struct.Struct("<4s4H2LH")
_STORED, _DEFLATED = 0, 8
_VERSION, _VERSION64 = 20, 45
_UTF8 = 0x800
#: 1980-01-01, the oldest date of the format: a recording's times stand in its own metadata.
_DATE = 0x21
_MAX16, _MAX32 = 0xFFFF, 0xFFFFFFFF
_LOCAL_MARK = b"PK\x03\x04"
#: Names of our members, to tell one from bytes that look like its header.
_NAME = re.compile(rb"(s\d{3}/|recording\.json)")
_STEP = 1 << 20
#: A member larger than this was not written by us; a broken or hostile file must not fill the memory.
MAX_MEMBER_BYTES = 1 << 27


class ZipWriter:
    """Writes members one after the other; the directory of what it wrote costs about 80 bytes each.

    Args:
        file: Open for writing without a buffer, positioned where the archive begins.

    Attributes:
        end: End of the last whole member.
    """

    def __init__(self, file: io.RawIOBase) -> None:
        self._file = file
        self._directory = bytearray()
        self._count = 0
        self.end = file.tell()

    def add(self, name: str, data: bytes, *, level: int = 0) -> None:
        """Append a member.

        Args:
            name: Its name.
            data: Its content.
            level: Deflate level; 0 stores it as it is.

        Raises:
            OSError: The disk is full or gone; `end` is the end of the last whole member.
        """
        body, method = data, _STORED
        if level:
            packer = zlib.compressobj(level, zlib.DEFLATED, -15)
            packed = packer.compress(data) + packer.flush()
            if len(packed) < len(data):
                body, method = packed, _DEFLATED
        encoded = name.encode()
        checksum = zlib.crc32(data)
        sizes = (checksum, len(body), len(data), len(encoded))
        header = _LOCAL.pack(_LOCAL_MARK, _VERSION, _UTF8, method, 0, _DATE, *sizes, 0)
        self._write(header + encoded + body)
        far = self.end >= _MAX32
        extra = struct.pack("<2HQ", 1, 8, self.end) if far else b""
        version = _VERSION64 if far else _VERSION
        self._directory += _DIRECTORY.pack(
            b"PK\x01\x02", version, version, _UTF8, method, 0, _DATE, *sizes, len(extra), 0, 0, 0, 0,
            _MAX32 if far else self.end,
        )  # fmt: skip
        self._directory += encoded + extra
        self._count += 1
        self.end += len(header) + len(encoded) + len(body)

    def finish(self) -> None:
        """Write the directory.

        Raises:
            OSError: The disk is full or gone.
        """
        start, size = self.end, len(self._directory)
        self._write(self._directory)
        if self._count >= _MAX16 or start + size >= _MAX32:
            self._write(
                _END64.pack(
                    b"PK\x06\x06",
                    _END64.size - 12,
                    _VERSION64,
                    _VERSION64,
                    0,
                    0,
                    self._count,
                    self._count,
                    size,
                    start,
                )  # fmt: skip
            )
            self._write(_LOCATOR64.pack(b"PK\x06\x07", 0, start + size, 1))
        count = min(self._count, _MAX16)
        self._write(_END.pack(b"PK\x05\x06", 0, 0, count, count, min(size, _MAX32), min(start, _MAX32), 0))

    def _write(self, data: bytes | bytearray) -> None:
        left = memoryview(data)
        while left:
            left = left[self._file.write(left) or 0 :]


@dataclass(frozen=True, slots=True)
class _Member:
    offset: int
    packed: int
    size: int
    method: int
    checksum: int


class ZipReader:
    """Reads members by name, also of an archive that was cut off.

    Every size, checksum and name stands twice, in the directory and in the member's own header: they must
    agree.

    Args:
        path: The file.

    Attributes:
        names: Names of the whole members, in the order in which they were written.
        cut_off: Whether the directory is missing, so that the members were found by their headers.

    Raises:
        RecordingError: It cannot be read, holds no member, or is damaged.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._file: BinaryIO = path.open("rb")
        except OSError as error:
            raise RecordingError(f"cannot read '{path}'", actual=error.strerror or str(error)) from None
        try:
            try:
                self._members, self.cut_off = self._from_directory(), False
            except (
                zipfile.BadZipFile,
                NotImplementedError,
                ValueError,
                OverflowError,
                OSError,
                struct.error,
            ):
                self._members, self.cut_off = self._from_headers(), True
            if not self._members:
                raise RecordingError(f"'{path}' is no recording", actual="no member of a zip archive in it")
        except BaseException:
            self._file.close()
            raise
        self.names = tuple(self._members)

    def read(self, name: str) -> bytes:
        """The content of a member.

        Raises:
            RecordingError: There is none of that name, or it is damaged.
        """
        member = self._members.get(name)
        if member is None:
            raise RecordingError(f"'{self._path}' has no part '{name}'")
        if member.size > MAX_MEMBER_BYTES or member.method not in (_STORED, _DEFLATED):
            raise RecordingError(
                f"part '{name}' of '{self._path}' was not written by edgesnn",
                actual=f"{member.size} bytes, method {member.method}",
            )
        data = self._body(name.encode(), member)
        if data is None:
            raise self.damaged(f"part '{name}' is not what its size and checksum say")
        return data

    def damaged(self, what: str) -> RecordingError:
        """The error for a file that contradicts itself."""
        return RecordingError(
            f"'{self._path}' is damaged: {what}", remedy="copy it again from where it was recorded"
        )

    def close(self) -> None:
        """Close the file; safe to call twice."""
        self._file.close()

    def _body(self, name: bytes, member: _Member) -> bytes | None:
        """The content, where the member's own header agrees with what is known of it, and its checksum."""
        self._file.seek(member.offset)
        header = self._file.read(_LOCAL.size)
        if len(header) < _LOCAL.size:
            return None
        mark, _, _, method, _, _, checksum, packed, size, name_bytes, extra = _LOCAL.unpack(header)
        known = (_LOCAL_MARK, member.method, member.checksum, member.packed, member.size)
        if (mark, method, checksum, packed, size) != known or self._file.read(name_bytes) != name:
            return None
        self._file.seek(extra, io.SEEK_CUR)
        data = self._file.read(member.packed)
        if len(data) != member.packed:
            return None
        if member.method == _DEFLATED:
            unpacker = zlib.decompressobj(-15)
            try:
                data = unpacker.decompress(data, member.size + 1)
            except zlib.error:
                return None
            if not unpacker.eof or unpacker.unused_data:
                return None
        whole = len(data) == member.size and zlib.crc32(data) == member.checksum
        return data if whole else None

    def _from_directory(self) -> dict[str, _Member]:
        """What the directory says, where its members lie one behind the other, up to it."""
        members: dict[str, _Member] = {}
        with zipfile.ZipFile(self._file) as archive:
            end = archive.infolist()[0].header_offset if archive.infolist() else 0
            if end < 0:
                raise zipfile.BadZipFile("a place below the file")
            for info in archive.infolist():
                if info.header_offset != end:
                    raise zipfile.BadZipFile("a gap")
                end += _LOCAL.size + len(info.filename.encode()) + info.compress_size
                if info.filename in members:
                    raise self.damaged(f"two parts are called '{info.filename}'")
                members[info.filename] = _Member(
                    info.header_offset, info.compress_size, info.file_size, info.compress_type, info.CRC
                )
            if end != archive.start_dir:
                raise zipfile.BadZipFile("members that it leaves out")
        return members

    def _from_headers(self) -> dict[str, _Member]:
        """Walk from header to header until one is missing or its member is not whole.

        Raises:
            RecordingError: Members follow that one: the file was not cut off there.
        """
        length = self._file.seek(0, io.SEEK_END)
        members: dict[str, _Member] = {}
        offset = 0
        while offset + _LOCAL.size <= length:
            self._file.seek(offset)
            fields = _LOCAL.unpack(self._file.read(_LOCAL.size))
            if fields[0] != _LOCAL_MARK or fields[8] > MAX_MEMBER_BYTES or fields[7] > MAX_MEMBER_BYTES:
                break
            name = self._file.read(fields[9])
            member = _Member(offset, fields[7], fields[8], fields[3], fields[6])
            if member.method not in (_STORED, _DEFLATED) or self._body(name, member) is None:
                break
            if name.decode("utf-8", "replace") in members:
                raise self.damaged(f"two parts are called '{name.decode('utf-8', 'replace')}'")
            members[name.decode("utf-8", "replace")] = member
            offset += _LOCAL.size + fields[9] + fields[10] + fields[7]
        if members and self._another(offset + 1):
            raise self.damaged(f"the part after '{[*members][-1]}' cannot be read, others follow it")
        return members

    def _another(self, offset: int) -> bool:
        """Whether a header of one of our members stands at an offset or behind it."""
        self._file.seek(offset)
        held = b""
        while more := self._file.read(_STEP):
            held += more
            place = held.find(_LOCAL_MARK)
            while place >= 0:
                if _NAME.match(held, place + _LOCAL.size):
                    return True
                place = held.find(_LOCAL_MARK, place + 1)
            held = held[-(_LOCAL.size + 16) :]
        return False
