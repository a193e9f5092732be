r"""``program.snn``: the one binary form of a program, for golden, native engines and microcontrollers alike.

Little-endian. A header of 128 bytes, a table of ops (128 bytes each), a table of tensors (64 bytes each),
then the tensors, each at a multiple of 64 bytes, with zeros between::

    header   0 magic "EDGESNN\0"   8 u16 major, u16 minor   12 u32 0x01020304   16 u64 file bytes
            24 u32 CRC-32 of bytes [0, 24) and [28, end)     28 u32 header bytes (128)
            32 u8[32] program hash: SHA-256 of bytes [64, end)
            64 u32 T, u32 ops, u32 tensors, u32 0            80 u64 offset of the ops, the tensors, the data
           104 zeros
    op       0 u16 kind, u16 flags (1: clip)   4 u32 input, u32 second input   12 u32 channels of the output
            16 i32[8] numbers                 48 u32[4] tensors                64 char[64] name, zero-padded
    tensor   0 u8 dtype (1 int8, 2 int32), u8 dimensions, u16 0   4 u32[4] shape   20 u32 0
            24 u64 offset, u64 bytes          40 zeros

An input is the number of the op that makes it; 0xFFFFFFFF means none. Numbers and tensors by kind:

    1 Embed     shift                  table, projection, multiplier
    2 Linear    -                      weight
    3 LIF       decay                  threshold, bias
    4 Shift     -                      channels
    5 Attend    head_dim, heads        windows
    6 Add   7 Saturate   8 Count       -
    9 Readout   shift, exponent        weight, bias, multiplier, table

Version 1.1 is that of programs that read frames: tensors may have 4 dimensions, and there are more kinds.
Version 1.0 is that of programs that read text. The records of all kinds are in `edgesnn.program.snn_records`.

Equal tensors are stored once. The reader accepts exactly what the writer makes: any other byte is an error.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgesnn.errors import CompileError, ProgramFormatError
from edgesnn.program.bounds import prove
from edgesnn.program.ops import LIF, Op, inputs_of
from edgesnn.program.program import Program
from edgesnn.program.snn_records import KINDS, Record, TensorArray, numbers_of, tensors_of
from edgesnn.program.validate import check_program

MAGIC = b"EDGESNN\0"
#: Newest version; a program has the lowest minor version that can hold it.
MAJOR, MINOR = 1, 1
#: Most dimensions of a tensor by minor version.
_DIMENSIONS = (2, 4)
BYTE_ORDER = 0x01020304
ALIGNMENT = 64
NONE = 0xFFFFFFFF
#: Sanity limits of a header; far above any student.
OPS_MAX, TENSORS_MAX = 4096, 16384

_HEAD = struct.Struct("<8sHHIQ")
_TAIL = struct.Struct("<II32s")
_COUNTS = struct.Struct("<4I3Q")
_OP = struct.Struct("<HHIII8i4I64s")
_TENSOR = struct.Struct("<BBH4IIQQ")
HEADER_BYTES, OP_BYTES, TENSOR_BYTES = 128, _OP.size, 64
_CRC_AT, _AFTER_CRC, _BODY = 24, 28, 64

_DTYPES: dict[int, np.dtype[np.integer]] = {1: np.dtype(np.int8), 2: np.dtype("<i4")}
_CODES = {np.dtype(np.int8): 1, np.dtype(np.int32): 2}


@dataclass(frozen=True, slots=True)
class StoredProgram:
    """A program and the hash that names it.

    Attributes:
        program: The program.
        hash: SHA-256 of the body, hex.
    """

    program: Program
    hash: str


def program_hash(program: Program) -> str:
    """The hash that names a program, hex."""
    return to_bytes(program)[32:64].hex()


def to_bytes(program: Program) -> bytes:
    """The bytes of a program; equal programs give equal bytes.

    Raises:
        ProgramFormatError: The program breaks a rule.
    """
    check_program(program)
    tensors: list[TensorArray] = []
    numbers: dict[bytes, int] = {}
    maker = {op.out: index for index, op in enumerate(program.ops)}
    channels = program.channels()
    op_table = b""
    for op in program.ops:
        refs = [_intern(array, tensors, numbers) for array in tensors_of(op)]
        sources = [maker[source] for source in inputs_of(op)]
        values = numbers_of(op)
        op_table += _OP.pack(
            KINDS.index(type(op)) + 1,
            int(isinstance(op, LIF) and op.clip),
            *(sources + [NONE] * (2 - len(sources))),
            channels[op.out],
            *(values + [0] * (8 - len(values))),
            *(refs + [NONE] * (4 - len(refs))),
            op.name.encode("ascii"),
        )
    if len(program.ops) > OPS_MAX or len(tensors) > TENSORS_MAX:
        raise ProgramFormatError(
            "the program is too long for program.snn",
            actual=f"{len(program.ops)} ops, {len(tensors)} tensors",
            limit=f"{OPS_MAX} ops, {TENSORS_MAX} tensors",
        )
    tensor_table, data = _layout(tensors, HEADER_BYTES + len(op_table))
    ops_at = HEADER_BYTES
    tensors_at = ops_at + len(op_table)
    data_at = _aligned(tensors_at + len(tensor_table))
    body = _COUNTS.pack(
        program.timesteps, len(program.ops), len(tensors), 0, ops_at, tensors_at, data_at
    ).ljust(HEADER_BYTES - _BODY, b"\0")
    body += (op_table + tensor_table).ljust(data_at - ops_at, b"\0") + data
    head = _HEAD.pack(MAGIC, MAJOR, _minor(program), BYTE_ORDER, _BODY + len(body))
    rest = _TAIL.pack(0, HEADER_BYTES, hashlib.sha256(body).digest())[4:] + body
    crc = zlib.crc32(rest, zlib.crc32(head))
    return head + struct.pack("<I", crc) + rest


def _minor(program: Program) -> int:
    return 0 if program.frames is None else 1


def read_program(path: Path) -> StoredProgram:
    """Read a ``program.snn``.

    Raises:
        ProgramFormatError: It is missing or breaks the format in any byte.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ProgramFormatError(f"cannot read '{path}': {error.strerror or error}") from None
    return from_bytes(data)


def from_bytes(data: bytes) -> StoredProgram:
    """Parse the bytes of a ``program.snn``.

    Raises:
        ProgramFormatError: Any byte is not what the writer would have made.
    """
    _check_header(data)
    timesteps, n_ops, n_tensors, zero, ops_at, tensors_at, data_at = _COUNTS.unpack_from(data, _BODY)
    if not 0 < n_ops <= OPS_MAX or n_tensors > TENSORS_MAX or zero:
        raise ProgramFormatError(
            "counts of program.snn out of range", actual=f"{n_ops} ops, {n_tensors} tensors"
        )
    expected = (
        HEADER_BYTES,
        HEADER_BYTES + n_ops * OP_BYTES,
        _aligned(HEADER_BYTES + n_ops * OP_BYTES + n_tensors * TENSOR_BYTES),
    )
    if (ops_at, tensors_at, data_at) != expected or data_at > len(data):
        raise ProgramFormatError(
            "offsets of program.snn lie", actual=(ops_at, tensors_at, data_at), limit=expected
        )
    minor = _HEAD.unpack_from(data)[2]
    tensors = _read_tensors(data, n_tensors, tensors_at, data_at, _DIMENSIONS[minor])
    ops = _read_ops(data, n_ops, ops_at, tensors)
    program = Program(timesteps, ops)
    check_program(program)
    try:
        prove(program)
    except CompileError as error:
        raise ProgramFormatError(f"program.snn holds an unsafe program: {error.what}") from None
    if to_bytes(program) != data:
        raise ProgramFormatError("program.snn is not in the one form that the writer makes")
    return StoredProgram(program, data[32:64].hex())


def _check_header(data: bytes) -> None:
    if len(data) < HEADER_BYTES:
        raise ProgramFormatError("program.snn is truncated", actual=f"{len(data)} bytes", limit=HEADER_BYTES)
    magic, major, minor, order, size = _HEAD.unpack_from(data)
    crc, header_bytes, digest = _TAIL.unpack_from(data, _CRC_AT)
    if magic != MAGIC:
        raise ProgramFormatError("not a program.snn: wrong magic", actual=magic, limit=MAGIC)
    if order != BYTE_ORDER:
        raise ProgramFormatError(
            "program.snn of the other byte order", actual=hex(order), limit=hex(BYTE_ORDER)
        )
    if major != MAJOR or minor > MINOR:
        raise ProgramFormatError(
            "program.snn of an unknown version",
            actual=f"{major}.{minor}",
            limit=f"{MAJOR}.{MINOR}",
            remedy="use a newer edgesnn or export again",
        )
    if size != len(data) or header_bytes != HEADER_BYTES:
        raise ProgramFormatError(
            "size in program.snn lies", actual=f"{len(data)} bytes", limit=f"{size} bytes"
        )
    actual = zlib.crc32(data[_AFTER_CRC:], zlib.crc32(data[:_CRC_AT]))
    if actual != crc:
        raise ProgramFormatError("program.snn is damaged: CRC-32 differs", actual=hex(actual), limit=hex(crc))
    if hashlib.sha256(data[_BODY:]).digest() != digest:
        raise ProgramFormatError("program.snn is damaged: its hash differs")


def _read_tensors(data: bytes, count: int, table_at: int, data_at: int, most: int) -> list[TensorArray]:
    tensors: list[TensorArray] = []
    position = data_at
    for index in range(count):
        code, dims, pad, *rest = _TENSOR.unpack_from(data, table_at + index * TENSOR_BYTES)
        shape, (pad2, offset, size) = rest[:4], rest[4:]
        dtype = _DTYPES.get(code)
        if dtype is None or not 1 <= dims <= most or pad or pad2 or any(shape[dims:]):
            raise ProgramFormatError(f"tensor {index} of program.snn has an unknown form")
        elements = 1
        for extent in shape[:dims]:
            elements *= extent
        if (
            elements == 0
            or size != elements * dtype.itemsize
            or offset != position
            or offset + size > len(data)
        ):
            raise ProgramFormatError(
                f"size of tensor {index} of program.snn lies",
                actual=f"{size} bytes at {offset}",
                limit=f"{len(data)} bytes",
            )
        array = np.frombuffer(data, dtype, elements, offset).reshape(shape[:dims])
        tensors.append(array)
        position = _aligned(offset + size)
    return tensors


def _read_ops(data: bytes, count: int, table_at: int, tensors: list[TensorArray]) -> tuple[Op, ...]:
    ops: list[Op] = []
    names: list[str] = []
    for index in range(count):
        kind, flags, first, second, channels, *rest = _OP.unpack_from(data, table_at + index * OP_BYTES)
        numbers, refs, raw_name = rest[:8], rest[8:12], rest[12]
        name = _name(raw_name, index)
        if not 1 <= kind <= len(KINDS):
            raise ProgramFormatError(
                f"op '{name}' has an unknown kind", actual=kind, limit=f"1..{len(KINDS)}"
            )
        if any(source != NONE and source >= index for source in (first, second)):
            raise ProgramFormatError(f"op '{name}' reads a value that no earlier op makes")
        if any(ref != NONE and ref >= len(tensors) for ref in refs):
            raise ProgramFormatError(f"op '{name}' names a tensor that does not exist")
        sources = [names[source] for source in (first, second) if source != NONE]
        arrays = [tensors[ref] for ref in refs if ref != NONE]
        try:
            record = Record(
                KINDS[kind - 1], name, sources, numbers, arrays, clip=bool(flags), channels=channels
            )
            ops.append(record.op())
        except ValueError:
            raise ProgramFormatError(f"op '{name}' lacks inputs or tensors") from None
        names.append(name)
    return tuple(ops)


def _intern(array: TensorArray, tensors: list[TensorArray], numbers: dict[bytes, int]) -> int:
    contiguous = np.ascontiguousarray(array)
    key = hashlib.sha256(f"{contiguous.dtype.str}{contiguous.shape}".encode() + contiguous.tobytes()).digest()
    if key not in numbers:
        numbers[key] = len(tensors)
        tensors.append(contiguous)
    return numbers[key]


def _layout(tensors: list[TensorArray], table_at: int) -> tuple[bytes, bytes]:
    """The table of tensors and the data behind it."""
    start = _aligned(table_at + len(tensors) * TENSOR_BYTES)
    table, data = b"", bytearray()
    for array in tensors:
        data += b"\0" * (_aligned(len(data)) - len(data))
        shape = list(array.shape) + [0] * (4 - array.ndim)
        raw = array.astype(array.dtype.newbyteorder("<")).tobytes()
        code = _CODES[array.dtype.newbyteorder("=")]
        table += _TENSOR.pack(code, array.ndim, 0, *shape, 0, start + len(data), len(raw)).ljust(
            TENSOR_BYTES, b"\0"
        )
        data += raw
    return table, bytes(data)


def _aligned(position: int) -> int:
    return -(-position // ALIGNMENT) * ALIGNMENT


def _name(raw: bytes, index: int) -> str:
    name, _, rest = raw.partition(b"\0")
    if not name or rest.strip(b"\0") or not all(33 <= byte < 127 for byte in name):
        raise ProgramFormatError(f"name of op {index} of program.snn is not printable ASCII")
    return name.decode("ascii")
