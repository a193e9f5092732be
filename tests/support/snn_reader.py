"""A second reader of ``program.snn``, written from docs/program_snn.md alone, with struct and no numpy.

It shares no code with the package: what it gives is plain data. ``python -m tests.support.snn_reader``
prints the worked example of that page.
"""

import hashlib
import struct
import zlib

KINDS = (
    "Embed",
    "Linear",
    "LIF",
    "Shift",
    "Attend",
    "Add",
    "Saturate",
    "Count",
    "Readout",
    "Frames",
    "Conv",
    "SumPool",
    "StatefulLIF",
    "Delay",
    "FrameOutput",
)


def fix_up(data: bytes | bytearray) -> bytes:
    """The file with hash and CRC-32 made right again after an edit."""
    data = bytearray(data)
    data[32:64] = hashlib.sha256(data[64:]).digest()
    struct.pack_into("<I", data, 24, zlib.crc32(data[28:], zlib.crc32(data[:24])))
    return bytes(data)


def parse(data: bytes) -> dict:
    """Header, ops and tensors as plain data; the checks of the page are left to the package's reader."""
    magic, major, minor, order, size = struct.unpack_from("<8sHHIQ", data, 0)
    crc, header_bytes = struct.unpack_from("<II", data, 24)
    timesteps, n_ops, n_tensors, _ = struct.unpack_from("<4I", data, 64)
    ops_at, tensors_at, data_at = struct.unpack_from("<3Q", data, 80)
    tensors = []
    for i in range(n_tensors):
        at = tensors_at + 64 * i
        dtype, dims = struct.unpack_from("<BB", data, at)
        shape = struct.unpack_from("<4I", data, at + 4)[:dims]
        offset, length = struct.unpack_from("<QQ", data, at + 24)
        code = {1: "b", 2: "i"}[dtype]
        values = struct.unpack_from(f"<{length // struct.calcsize(code)}{code}", data, offset)
        tensors.append(
            {"dtype": {1: "int8", 2: "int32"}[dtype], "shape": shape, "values": values, "at": offset}
        )
    ops = []
    for i in range(n_ops):
        at = ops_at + 128 * i
        kind, flags, first, second, channels = struct.unpack_from("<HHIII", data, at)
        numbers = struct.unpack_from("<8i", data, at + 16)
        refs = struct.unpack_from("<4I", data, at + 48)
        name = data[at + 64 : at + 128].split(b"\0")[0].decode("ascii")
        ops.append(
            {
                "kind": KINDS[kind - 1],
                "clip": bool(flags & 1),
                "inputs": [source for source in (first, second) if source != 0xFFFFFFFF],
                "channels": channels,
                "numbers": numbers,
                "tensors": [ref for ref in refs if ref != 0xFFFFFFFF],
                "name": name,
            }
        )
    return {
        "magic": magic,
        "version": (major, minor),
        "order": order,
        "size": size,
        "crc": crc,
        "header_bytes": header_bytes,
        "hash": data[32:64].hex(),
        "timesteps": timesteps,
        "at": (ops_at, tensors_at, data_at),
        "ops": ops,
        "tensors": tensors,
    }


def dump(data: bytes, start: int, stop: int) -> list[str]:
    """Lines of 16 bytes in hex, repeated lines of zeros left out."""
    lines, skipped = [], False
    for at in range(start, stop, 16):
        row = data[at : min(at + 16, stop)]
        if not any(row):
            if not skipped:
                lines.append("   *  zeros")
            skipped = True
            continue
        skipped = False
        text = "".join(chr(b) if 32 <= b < 127 else "." for b in row)
        lines.append(f"{at:04x}  {row.hex(' '):<47}  {text}")
    return lines


def example_program():
    """The smallest program that says something: two tokens, two channels, one of each op it needs."""
    import numpy as np

    from edgesnn.program.ops import LIF, Count, Embed, Linear, Readout
    from edgesnn.program.program import Program

    def i8(*rows):
        return np.array(rows, np.int8)

    def i32(*values):
        return np.array(values, np.int32)

    table = i8([1], [-2])
    return Program(
        4,
        (
            Embed("embed", "embed", table, i8([100, 50]), i32(300, 200), 5),
            LIF("lif", "embed", "lif", 230, i32(64_000, 32_000), i32(-64, 128), False),
            Linear("linear", "lif", "linear", i8([127, -3], [5, 64])),
            LIF("last", "linear", "last", 230, i32(6400, 3200), i32(0, 0), False),
            Count("count", "last", "count"),
            Readout("readout", "count", "readout", i8([3], [-1]), i32(7), i32(40), 3, table, 2),
        ),
    )


def worked_example() -> str:
    """The example as it stands in docs/program_snn.md."""
    from edgesnn.program.snn_format import to_bytes

    data = to_bytes(example_program())
    seen = parse(data)
    ops_at, tensors_at, data_at = seen["at"]
    lines = [f"header, {len(data)} bytes in all", *dump(data, 0, 128)]
    for i, op in enumerate(seen["ops"]):
        lines += [
            f"op {i}: {op['kind']} '{op['name']}'",
            *dump(data, ops_at + 128 * i, ops_at + 128 * (i + 1)),
        ]
    for i, tensor in enumerate(seen["tensors"]):
        at, shape = tensors_at + 64 * i, list(tensor["shape"])
        lines += [f"tensor {i}: {tensor['dtype']} {shape} {list(tensor['values'])}", *dump(data, at, at + 64)]
    lines += ["data", *dump(data, data_at, len(data))]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(worked_example(), end="")
