"""Every form of the same records gives the same documents; what is no text is refused with its line."""

from __future__ import annotations

import csv
import io
import json

import pytest

pytest.importorskip("torch", reason="needs the `train` extra")

from edgesnn.errors import TrainingError  # noqa: E402
from edgesnn.student.text.reading import read_documents  # noqa: E402

RECORDS = [
    {"prompt": f'Where is "item {i}",\nand why?', "response": f"Left; room\t{i}, naïve 日本 🙂"}
    for i in range(5)
]


def _table(delimiter, header=("prompt", "response")):
    stream = io.StringIO()
    rows = csv.writer(stream, delimiter=delimiter)
    rows.writerow(header)
    rows.writerows([record["prompt"], record["response"]] for record in RECORDS)
    return stream.getvalue()


LINES = "\n".join(json.dumps(record) for record in RECORDS)
FORMS = {
    "upper.JSONL": (LINES, "JSON lines"),
    "lines.json": (LINES, "JSON lines"),
    "lines.txt": (LINES, "JSON lines"),
    "returns.jsonl": (LINES.replace("\n", "\r\n") + "\r\n\r\n", "JSON lines"),
    "spread.ndjson": ("\n".join(json.dumps(r, indent=2, ensure_ascii=False) for r in RECORDS), "JSON lines"),
    "array.json": (json.dumps(RECORDS), "a JSON array"),
    "array": (json.dumps(RECORDS, indent=1), "a JSON array"),
    "rows.csv": (_table(","), "CSV"),
    "rows.CSV": (_table(",", ("Prompt", " Response ")), "CSV"),
    "rows.txt": (_table(","), "CSV"),
    "rows.tsv": (_table("\t"), "TSV"),
    "semicolons.csv": (_table(";"), "CSV with semicolons"),
}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("name", FORMS)
def test_one_set_of_records_is_read_from_every_form(tmp_path, name, encoding):
    content, form = FORMS[name]
    (tmp_path / name).write_bytes(content.encode(encoding))
    text = read_documents(tmp_path / name)
    assert [document.parts[1::2] for document in text.documents] == [
        (record["prompt"], record["response"]) for record in RECORDS
    ]
    assert text.sentence() == f"{name}: read as {form}, 5 documents"
    assert text.as_dict() == {"source": name, "read_as": form, "documents": 5}


@pytest.mark.parametrize(
    "text",
    [
        "one\n\ntwo",
        "[1] a note\n\n{{Box}} two",
        "prompt and response, in words\n\nx",
        "x" * 200_000 + "\n\ny",
    ],
)
def test_other_text_is_plain_and_is_said_to_be(tmp_path, text):
    (tmp_path / "d.txt").write_bytes(text.encode("utf-16"))
    assert read_documents(tmp_path / "d.txt").sentence() == "d.txt: read as plain text, 2 documents"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("s.jsonl", LINES + '\n{"prompt": "cut \\ud83d", "response": "r"}', "line 6 holds half a.*U\\+D83D"),
        ("s.json", '[\n{"prompt": "p", "response": "\\ude00"}]', "line 2 holds half a character"),
        ("d.jsonl", LINES + "\n" + "[" * 100_000, "'d.jsonl' line 6 is no record.*RecursionError"),
        ("d.jsonl", LINES + "\n" + '{"a":' * 100_000, "line 6 is no record.*RecursionError"),
        ("b.txt", LINES + '\n{"prompt": ', "line 6 is no record"),
        ("b.txt", "{'prompt': 'p', 'response': 'r'}", "line 1 is no record"),
        ("a.json", '[{"prompt": "p", "response": "r"}\n{"prompt": "p"}]', "line 2 is no record.*no comma"),
        ("a.json", '[{"prompt": "p", "response": "r"}', "line 1 is no record.*no comma or bracket"),
        ("a.json", '[{"prompt": "p", "response": "r"}]\nmore', "line 2 is no record.*does not end"),
        ("a.json", '{"data": []}', "line 1 is no record.*KeyError"),
        ("a.json", "plain words", "line 1 is no record"),
        ("r.csv", "question,answer\na,b\n", "no columns prompt and response.*question,answer"),
        ("r.tsv", "a\tb\n", "no columns prompt and response"),
        (
            "r.csv",
            "prompt,response\na,b\nc,d, and more\n",
            "line 3 is no row of the table.*3 columns.*quotes",
        ),
        ("r.csv", "prompt,response\na\n", "line 2 is no row of the table.*1 columns"),
        ("r.csv", 'prompt,response\na,b\nc,"open\n', "line 3 is no row of a table"),
        ("n.txt", "a\nb\0c", "is no text.*zero byte in line 2.*BOM"),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_line(tmp_path, name, content, message):
    (tmp_path / name).write_text(content, encoding="utf-8")
    with pytest.raises(TrainingError, match=message):
        read_documents(tmp_path / name)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a\nb\xed\xa0\xbdc", "not UTF-8 text.*line 2, byte 3"),
        (b"\xff\xfea\x00b", "not UTF-16-LE text.*line 1"),
        (b"\xff\xfe\x3d\xd8a\x00", "not UTF-16-LE text"),
        ("a caf\u00e9".encode("latin-1"), "not UTF-8 text.*line 1, byte 5"),
    ],
)
def test_bytes_that_are_no_text_are_refused_with_their_place(tmp_path, content, message):
    (tmp_path / "t.txt").write_bytes(content)
    with pytest.raises(TrainingError, match=message):
        read_documents(tmp_path / "t.txt")
