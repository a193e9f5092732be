"""One idea, one place: what only one file may do, so that it cannot drift in a second one."""

import ast

import pytest

from tests.support.sources import FILES, nodes, walked

#: Packages that lock files.
LOCKS = {"fcntl", "filelock", "msvcrt"}
#: Packages of the standard library that not every system has.
SYSTEMS = {"fcntl", "grp", "msvcrt", "pwd", "resource", "winreg"}
#: How one asks which system this is, and what not every system has.
ASKED = {
    "sys.platform",
    "os.name",
    "platform.system",
    "os.geteuid",
    "os.getuid",
    "os.getgroups",
    "os.openpty",
}
#: Who works on Linux only, after `system.py` was asked, or tells a person which system this is.
DEEP_IN_LINUX = {"meters/twins/pty.py", "profiler/counts/host.py", "cli/doctor.py"}
#: Words by which a C compiler is looked for.
COMPILERS = {"EDGESNN_CC", "CC", "ziglang", "ZIG_GLOBAL_CACHE_DIR"}
#: Who starts programs, and which; everyone else asks one of these.
PROGRAMS = {
    "toolchain.py": "C compilers",
    "bundle/signature.py": "ssh-keygen",
    "children.py": "Python of our own, which answers in JSON lines",
    "record/provenance.py": "git",
    "runners/board/emulator.py": "QEMU, which ends with its host",
    "runners/browser/assets.py": "npm and pip, which fetch the page's engine",
    "runners/lava/child.py": "Lava, in a session of its own, with memory that it shares",
    "runners/lava/environment.py": "interpreters, and pip in an environment of Lava's own",
    "runners/remote/adb_client.py": "adb",
    "runners/remote/link.py": "the program on a device, through whichever link",
    "runners/remote/session.py": "the program on a device, while it runs",
    "runners/remote/ssh_client.py": "ssh",
    "student/artifact/metadata.py": "git",
}


def imports(names):
    """Files that import one of these, anywhere in them."""
    found = set()
    for path, node in nodes(ast.Import | ast.ImportFrom):
        given = (
            [node.module or ""] if isinstance(node, ast.ImportFrom) else [name.name for name in node.names]
        )
        if {name.partition(".")[0] for name in given} & set(names):
            found.add(path.as_posix())
    return found


def attributes():
    """Files that ask by `ASKED`."""
    return {path.as_posix() for path, node in nodes(ast.Attribute) if ast.unparse(node) in ASKED}


def says(test):
    """Files with a string for which a test holds; docstrings are no strings here."""
    found = set()
    for path in FILES:
        docstrings = {id(node.value) for node in walked(path) if isinstance(node, ast.Expr)}
        for node in walked(path):
            if isinstance(node, ast.Constant) and id(node) not in docstrings and test(str(node.value)):
                found.add(path.as_posix())
    return found


def only_closes(node):
    """Whether a function does nothing but close itself."""
    body = [
        one for one in node.body if not (isinstance(one, ast.Expr) and isinstance(one.value, ast.Constant))
    ]
    return node.name == "__exit__" and [ast.unparse(one) for one in body] == ["self.close()"]


@pytest.mark.parametrize(
    ("found", "place"),
    [
        # system.py lies below locks.py: by its locks scratch.py asks whether the holder of a file is alive
        pytest.param(lambda: imports(LOCKS) - {"system.py"}, "locks.py", id="locks of files"),
        pytest.param(
            lambda: imports(SYSTEMS) | {path for path in attributes() if path not in DEEP_IN_LINUX},
            "system.py",
            id="what differs between operating systems",
        ),
        pytest.param(
            lambda: {
                path.as_posix()
                for path, node in nodes(ast.ImportFrom)
                if node.module == "rich.table" or (node.module == "rich" and node.names[0].name == "table")
            },
            "cli/tables.py",
            id="tables",
        ),
        pytest.param(lambda: says(COMPILERS.__contains__), "toolchain.py", id="C compilers"),
        pytest.param(
            lambda: {path.as_posix() for path, node in nodes(ast.FunctionDef) if only_closes(node)},
            "closing.py",
            id="leaving closes",
        ),
    ],
)
def test_one_file_alone_does_it(found, place):
    assert sorted(found()) == [place]


def test_programs_are_started_by_those_who_say_which():
    assert sorted(imports({"subprocess"})) == sorted(PROGRAMS)


def test_token_ids_are_checked_by_the_program_and_not_again_by_who_runs_it():
    found = says(lambda text: "outside the vocabulary" in text)
    # the engine in C says it by a status, held-out text and a tokenizer know no program
    assert found - {"runners/native/engine.py", "bundle/bundle.py", "text/tokenizer.py"} == {
        "program/program.py"
    }
