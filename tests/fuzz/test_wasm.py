"""The engine in WebAssembly under damaged programs: that a trap would be noticed, and that there is none."""

import shutil

import pytest

from tools.fuzz.mutate import mutated
from tools.fuzz.native import Finding
from tools.fuzz.wasm import HARNESSES, module

if shutil.which("node") is None:
    pytest.skip("no node", allow_module_level=True)

#: memory, reserve(bytes) -> 256, open(data, size, chunk) -> unreachable
TRAPS = bytes.fromhex(
    "0061736d01000000"
    "010d0260017f017f60037f7f7f017f"
    "0303020001"
    "0503010001"
    "071b03066d656d6f72790200077265736572766500" + "00046f70656e0001"
    "0a0b0205004180020b0300000b"
)


def test_a_trap_is_a_finding(tmp_path):
    (tmp_path / "trap.wasm").write_bytes(TRAPS)
    subject = module(tmp_path / "trap.wasm").open(tmp_path)
    with pytest.raises(Finding, match="trapped: unreachable"):
        subject.run(subject.seeds[0])


@pytest.mark.parametrize("name", sorted(HARNESSES))
def test_damaged_programs_trap_nowhere(name, tmp_path):
    subject = HARNESSES[name].open(tmp_path)
    subject.run(subject.seeds[0])
    refused = 0
    for number in range(200):
        try:
            subject.run(mutated(subject.seeds, 7, number, subject.fix))
        except Exception as error:
            assert type(error).__name__ == "ProgramFormatError", error
            refused += 1
    assert 100 < refused < 200
