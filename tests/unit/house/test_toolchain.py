"""C compilers: which one is taken, what it is asked, and how its result is kept."""

import sys
import threading

import pytest

from edgesnn import toolchain
from edgesnn.errors import ExportError, RunnerError
from edgesnn.toolchain import (
    TARGETS,
    Compiler,
    CompileTarget,
    build_once,
    cross_compiler,
    fingerprint,
    host_compiler,
    missing_host_compiler,
)

BARE_METAL = CompileTarget(
    "cortex-m4", "arm-none-eabi", ("-mcpu=cortex-m4", "-mthumb"), None, (), elf=40, bits=32
)


@pytest.fixture(autouse=True)
def installed(monkeypatch, tmp_path):
    """Puts compilers on an empty path: ``installed(name, script)``."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setenv("EDGESNN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(toolchain.importlib.util, "find_spec", lambda name: None)
    for variable in toolchain.VARIABLES:
        monkeypatch.delenv(variable, raising=False)

    def install(name, script="exit 0"):
        path = folder / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        return str(path)

    return install


@pytest.fixture
def zig(monkeypatch):
    monkeypatch.setattr(toolchain.importlib.util, "find_spec", lambda name: name == "ziglang" or None)
    monkeypatch.setattr(toolchain.importlib.metadata, "version", lambda name: "9.9")


def test_edgesnn_cc_wins_over_cc_and_cc_over_what_is_installed(installed, monkeypatch, zig):
    one, two, three = installed("one"), installed("two"), installed("three")
    assert host_compiler(("three", "zig")).command == (three,)
    assert host_compiler(("zig", "three")).name == "zig 9.9"
    monkeypatch.setenv("CC", "two -m32")
    assert host_compiler(("zig", "three")).command == (two, "-m32")
    monkeypatch.setenv("EDGESNN_CC", "")
    assert host_compiler(("three",)).name == "two"
    monkeypatch.setenv("EDGESNN_CC", "one")
    assert host_compiler(("zig", "three")).command == (one,)
    spaced = installed("my compiler")
    monkeypatch.setenv("EDGESNN_CC", spaced)
    assert host_compiler(()).command == (spaced,)


def test_a_compiler_that_is_named_and_missing_is_not_replaced_by_another(installed, monkeypatch):
    assert missing_host_compiler(("gcc",)) == "no C compiler"
    installed("gcc")
    assert missing_host_compiler(("gcc",)) is None
    monkeypatch.setenv("CC", "icc -O1")
    assert missing_host_compiler(("gcc",)) == "compiler 'icc -O1' of CC is not installed"
    monkeypatch.setenv("EDGESNN_CC", "tcc")
    assert missing_host_compiler(("gcc",)) == "compiler 'tcc' of EDGESNN_CC is not installed"


def test_a_target_has_its_cross_gcc_else_zig_whatever_the_variables_say(installed, monkeypatch, zig):
    monkeypatch.setenv("CC", installed("host-cc"))
    found = cross_compiler(TARGETS["armhf"])
    assert found.command[:4] == (sys.executable, "-m", "ziglang", "cc")
    assert found.command[4:] == (
        "-fno-sanitize=undefined", "-target", "arm-linux-musleabihf", "-mcpu=cortex_a7",
    )  # fmt: skip
    gcc = installed("arm-linux-gnueabihf-gcc")
    assert cross_compiler(TARGETS["armhf"]).command == (gcc, "-mfpu=neon")


def test_gcc_serves_its_own_processor_and_no_other(installed, monkeypatch):
    gcc = installed("gcc")
    monkeypatch.setattr(toolchain.platform, "machine", lambda: "riscv64")
    assert cross_compiler(TARGETS["riscv64"]).command == (gcc,)
    assert cross_compiler(TARGETS["aarch64"]) is None
    assert TARGETS["x86_64"].remedy() == "apt install gcc-x86-64-linux-gnu, or pip install ziglang"


def test_a_processor_without_an_operating_system_is_a_target_like_any_other(installed, zig):
    assert cross_compiler(BARE_METAL) is None and BARE_METAL.remedy() == "apt install gcc-arm-none-eabi"
    gcc = installed("arm-none-eabi-gcc")
    assert cross_compiler(BARE_METAL).command == (gcc, "-mcpu=cortex-m4", "-mthumb")


def test_a_fingerprint_changes_with_all_that_decides(installed, monkeypatch, tmp_path):
    source = tmp_path / "a.c"
    source.write_text("int a;")
    installed("cc")
    compiler = host_compiler(("cc",))
    seen = {fingerprint(compiler, ("-O3",), [source])}
    assert fingerprint(compiler, ("-O3",), [source]) in seen
    seen.add(fingerprint(compiler, ("-O2",), [source]))
    seen.add(fingerprint(compiler, ("-O3", "-march=native"), [source]))
    monkeypatch.setattr(toolchain, "_processor", lambda: "another one")
    assert fingerprint(compiler, ("-O3",), [source]) in seen
    seen.add(fingerprint(compiler, ("-O3", "-march=native"), [source]))
    installed("cc", "exit 0 # a new release")
    seen.add(fingerprint(host_compiler(("cc",)), ("-O3",), [source]))
    monkeypatch.setenv("CC", "cc -m32")
    seen.add(fingerprint(host_compiler(()), ("-O3",), [source]))
    source.write_text("int b;")
    seen.add(fingerprint(compiler, ("-O3",), [source]))
    assert len(seen) == 7


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("echo one >&2; echo two >&2; echo three >&2; echo four >&2; exit 1", "failed: one | two | three;"),
        ("echo only on stdout; exit 2", "failed: only on stdout;"),
        ("printf 'caf\\351' >&2; exit 1", "failed: caf\N{REPLACEMENT CHARACTER};"),
        ("exit 3", "failed: exit code 3;"),
    ],
)
def test_a_compiler_that_fails_is_an_error_with_its_first_words(installed, script, words):
    installed("cc", script)
    with pytest.raises(ExportError) as caught:
        host_compiler(("cc",)).run(["a.c"], label="the compiler", error=ExportError, remedy="try again")
    assert f"the compiler {words}" in caught.value.sentence() and caught.value.remedy == "try again"


def test_a_compiler_that_does_not_start_or_does_not_end_is_an_error(installed, monkeypatch, tmp_path):
    gone = Compiler("cc", (str(tmp_path / "gone"),), "")
    with pytest.raises(RunnerError, match="failed: .*No such file"):
        gone.run([], label="the compiler", error=RunnerError)
    installed("cc", "exec /bin/sleep 600")
    monkeypatch.setattr(toolchain, "BUILD_SECONDS", 0.1)
    with pytest.raises(RunnerError, match="the compiler did not end; limit: 0.1 s"):
        host_compiler(("cc",)).run([], label="the compiler", error=RunnerError)


def test_a_compiler_runs_in_the_folder_it_is_given_with_a_cache_of_its_own(installed, tmp_path):
    installed("cc", f'pwd > "{tmp_path}/said"; echo "$ZIG_GLOBAL_CACHE_DIR $@" >> "{tmp_path}/said"')
    host_compiler(("cc",)).run(["-c", "a.c"], label="it", error=RunnerError, folder=tmp_path / "bin")
    assert (tmp_path / "said").read_text().splitlines() == [
        str(tmp_path / "bin"),
        f"{tmp_path / 'cache' / 'zig'} -c a.c",
    ]


def test_what_is_kept_is_made_once_by_all_who_ask_together(tmp_path):
    path, made = tmp_path / "kept" / "file", []

    def make(work):
        made.append(work)
        assert not path.exists()
        (work / "half").write_text("whole")
        return work / "half"

    def ask():
        assert build_once(path, make, label="it", error=RunnerError) == path

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1 and path.read_text() == "whole"
    assert sorted(item.name for item in path.parent.iterdir()) == ["file", "lock"]


def test_what_failed_or_cannot_be_kept_leaves_nothing(tmp_path):
    def fail(work):
        (work / "half").write_text("half")
        raise RunnerError("the compiler failed")

    path = tmp_path / "kept" / "file"
    with pytest.raises(RunnerError, match="the compiler failed"):
        build_once(path, fail, label="it", error=RunnerError)
    assert [item.name for item in path.parent.iterdir()] == ["lock"]
    (tmp_path / "full").write_text("")
    with pytest.raises(ExportError, match="it cannot be kept in") as caught:
        build_once(tmp_path / "full" / "file", fail, label="it", error=ExportError)
    assert "EDGESNN_CACHE" in caught.value.remedy


def test_names_of_targets_are_their_own():
    assert all(name == target.name for name, target in TARGETS.items())
    assert len({(target.elf, target.bits) for target in TARGETS.values()}) == len(TARGETS)
