"""The example C project prints the text of ``edgesnn generate``."""

import shutil
import struct
import subprocess

import pytest

from edgesnn import export_student, generate_text
from edgesnn.exporters.c.vocab import vocab_bytes
from edgesnn.text.sampling import SamplingOptions
from edgesnn.text.tokenizer import load_tokenizer
from tests.parity.native.conftest import add_example
from tests.support.artifacts import write_artifact

PROMPTS = ("What is that", "Größe: 3 €", "x")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    folder = tmp_path_factory.mktemp("text")
    return export_student(write_artifact(folder / "tiny"), folder / "bundle", ["c"])


@pytest.fixture(scope="module")
def example(built, bundle, tmp_path_factory):
    """The folder of the export with the example built in it."""
    folder = shutil.copytree(bundle.path / "c", tmp_path_factory.mktemp("built") / "c")
    add_example(folder, built)
    return folder


def printed(folder, *arguments):
    command = ["./snn_example", "program.snn", *map(str, arguments)]
    return subprocess.run(command, cwd=folder, capture_output=True, check=True).stdout.decode("utf-8")


@pytest.mark.parametrize("prompt", PROMPTS)
def test_it_prints_the_text_of_generate(example, bundle, prompt):
    prompted = []
    pieces = generate_text(
        bundle.path, prompt, SamplingOptions(), target="golden", max_tokens=40, on_prompt=prompted.extend
    )
    want = "".join(piece.text for piece in pieces)
    assert printed(example, "-n", 40, "-v", "vocab.bin", *prompted) == want + "\n"


def test_the_vocabulary_holds_the_bytes_of_every_token(bundle):
    tokenizer = load_tokenizer(bundle.path / "tokenizer.json")
    tokens = tokenizer.token_bytes()
    assert len(tokens) == tokenizer.vocab_size
    assert [len(token) for token in tokens] == tokenizer.byte_lengths()
    for text in ("Größe €", "a b\n\tc", "\x00\u200b🙂"):
        assert b"".join(tokens[i] for i in tokenizer.encode(text)) == text.encode("utf-8")


def test_bytes_that_are_no_utf8_become_what_python_makes_of_them(example, bundle, tmp_path):
    """One token of every byte sequence, chosen by a vocabulary of our own for the ids that come out."""
    ids = [int(line) for line in printed(example, "-n", 24, 5, 6, 7).split()]
    vocab = load_tokenizer(bundle.path / "tokenizer.json").vocab_size
    for content in (
        b"\xf0\x9f\x99",
        b"\xe2\x82A",
        b"\xff",
        b"\xed\xa0\x80",
        b"\xc3",
        b"\xf4\x90",
        b"ok\xe0\x80",
    ):
        tokens = [content if i == ids[0] else b"" for i in range(vocab)]
        (tmp_path / "v.bin").write_bytes(vocab_bytes(tokens))
        want = b"".join(tokens[i] for i in ids).decode("utf-8", errors="replace")
        assert printed(example, "-n", 24, "-v", tmp_path / "v.bin", 5, 6, 7) == want + "\n"


def test_a_token_that_ends_the_text_is_not_printed(example, bundle, tmp_path):
    first = int(printed(example, "-n", 1, 5, 6, 7))
    vocab = load_tokenizer(bundle.path / "tokenizer.json").vocab_size
    (tmp_path / "v.bin").write_bytes(vocab_bytes([b"x"] * vocab, end=first))
    assert printed(example, "-n", 9, "-v", tmp_path / "v.bin", 5, 6, 7) == "\n"


def test_a_damaged_vocabulary_is_refused(example, bundle, tmp_path):
    good = (bundle.path / "c" / "vocab.bin").read_bytes()
    (count,) = struct.unpack_from("<I", good, 4)
    damaged = (
        b"",
        good[:-1],
        good + b"x",
        b"X" + good[1:],
        good[:4] + struct.pack("<I", count + 1) + good[8:],
    )
    descending = bytearray(good)
    descending[20:24] = b"\xff\xff\xff\xff"
    for content in (*damaged, bytes(descending)):
        (tmp_path / "v.bin").write_bytes(content)
        done = subprocess.run(
            ["./snn_example", "program.snn", "-v", tmp_path / "v.bin", "5"], cwd=example, capture_output=True
        )
        assert done.returncode == 1 and b"v.bin" in done.stderr
