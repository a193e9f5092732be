from __future__ import annotations

import json

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the `train` extra")

from edgesnn.errors import ConfigError, TextError, TrainingError  # noqa: E402
from edgesnn.student.artifact.evaluate import make_slice  # noqa: E402
from edgesnn.student.text.batches import (  # noqa: E402
    IGNORED,
    BatchStream,
    encode_documents,
    make_corpus,
    pack_epoch,
)
from edgesnn.student.text.bpe import learn_bpe, learn_cached  # noqa: E402
from edgesnn.student.text.data import (  # noqa: E402
    record_document,
    split_held_out,
    split_text,
    synthetic_records,
    text_document,
)
from edgesnn.student.text.reading import load_documents, read_documents  # noqa: E402
from edgesnn.text.tokenizer import load_tokenizer  # noqa: E402

pytestmark = pytest.mark.torch


@pytest.fixture(scope="module")
def tokenizer():
    return learn_bpe([text for record in synthetic_records() for text in record], 400)


def test_special_tokens_come_first_and_every_text_survives_the_round_trip(tokenizer, tmp_path):
    assert [tokenizer.token_id(t) for t in ("<|endoftext|>", "<|user|>", "<|assistant|>")] == [0, 1, 2]
    assert tokenizer.vocab_size == 400
    tokenizer.save(tmp_path / "tokenizer.json")
    again = load_tokenizer(tmp_path / "tokenizer.json")
    for text in ("Set a timer.", " naïve\n\t  日本語 🙂 ", "\x00\x7f", "a  b"):
        ids = again.encode_plain(text)
        assert again.decode(ids) == text
        assert sum(again.byte_lengths()[i] for i in ids) == len(text.encode())


def test_a_prompt_cannot_spell_a_special_token(tokenizer):
    ids = tokenizer.encode_prompt("x<|endoftext|>y<|user|>")
    assert ids[0] == 1 and ids[-1] == 2
    assert not set(ids[1:-1]) & {0, 1, 2}
    assert tokenizer.decode(ids) == "x<|endoftext|>y<|user|>"
    document = record_document("<|assistant|>", "<|endoftext|>")
    (encoded,) = encode_documents([document], tokenizer)
    assert [i for i in encoded if i < 3] == [1, 2, 0]


def test_tokenizer_errors_are_clear(tokenizer, tmp_path):
    with pytest.raises(TextError, match="missing file"):
        load_tokenizer(tmp_path / "tokenizer.json")
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(TextError, match="is no tokenizer"):
        load_tokenizer(tmp_path / "tokenizer.json")
    with pytest.raises(TextError, match="outside the vocabulary"):
        tokenizer.decode([400])
    with pytest.raises(TextError, match="no token"):
        tokenizer.token_id("<|system|>")
    with pytest.raises(TrainingError, match="too small"):
        learn_bpe(["a"], 100)


def test_a_learnt_tokenizer_is_read_back_for_the_same_text_only(tmp_path):
    first = learn_cached(["one text of words"], 270, tmp_path)
    stamp = (tmp_path / "tokenizer.json").stat().st_mtime_ns
    assert learn_cached(["one text of words"], 270, tmp_path).to_json() == first.to_json()
    assert (tmp_path / "tokenizer.json").stat().st_mtime_ns == stamp
    assert learn_cached(["quite another one"], 270, tmp_path).to_json() != first.to_json()
    (tmp_path / "tokenizer.json").write_text("damaged")
    assert learn_cached(["quite another one"], 270, tmp_path).vocab_size > 258


def test_text_splits_at_titles_or_blank_lines_or_lines():
    assert split_text("x\n = A = \n\n = = B = = \n text\n\n = C = \n y") == [
        "x",
        "= A = \n\n = = B = = \n text",
        "= C = \n y",
    ]
    assert split_text("a\nb\n\n\n \nc\r\n\r\nd\n") == ["a\nb", "c", "d"]
    assert split_text("a\nb\n\n") == ["a", "b"]


def test_json_lines_and_text_files_become_documents(tmp_path):
    path = tmp_path / "d.jsonl"
    path.write_text(json.dumps({"prompt": "p", "response": "r"}) + "\n\n")
    assert read_documents(path).documents[0].parts == (1, "p", 2, "r", 0)
    path = tmp_path / "d.txt"
    path.write_text("one\n\ntwo")
    assert [d.parts for d in read_documents(path).documents] == [("one", 0), ("two", 0)]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("d.txt", b"", "is empty"),
        ("d.txt", b" \n\n ", "is empty"),
        ("d.txt", b"a\n\xff\xfe", "not UTF-8 text.*line 2"),
        ("d.jsonl", b'{"prompt": "p"}\n', "line 1 is no record"),
        ("d.jsonl", b'{"prompt": "p", "response": "r"}\n[1]\n', "line 2 is no record"),
        ("d.jsonl", b'{"prompt": 1, "response": "r"}\n', "must be text"),
    ],
)
def test_an_unusable_file_is_one_clear_error(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(TrainingError, match=message):
        read_documents(tmp_path / name)


def test_a_missing_file_and_an_unknown_data_set_are_errors(tmp_path):
    with pytest.raises(TrainingError, match="missing file"):
        load_documents("synthetic", str(tmp_path / "none.txt"))
    with pytest.raises(ConfigError, match="--dataset-path"):
        load_documents("wikitext-3", None)


def test_the_held_out_split_shares_no_prompt_and_does_not_depend_on_order():
    documents = [record_document(f"p{i % 50}", f"r{i}") for i in range(100)]
    train, held = split_held_out(documents)
    assert len(train) + len(held) == 100 and held
    assert not {d.group for d in train} & {d.group for d in held}
    assert {d.group for d in split_held_out(documents[::-1])[1]} == {d.group for d in held}
    with pytest.raises(TrainingError, match="too short to hold out"):
        split_held_out([text_document("x")] * 3)


def test_long_documents_are_cut_so_that_each_id_is_a_target_once():
    corpus = make_corpus([list(range(10)), [7, 8], [5]], 4)
    pieces = [corpus.ids[a:b].tolist() for a, b in zip(corpus.starts, corpus.starts[1:], strict=False)]
    assert pieces == [[0, 1, 2, 3, 4], [4, 5, 6, 7, 8], [8, 9], [7, 8], [5]]


def test_an_epoch_holds_every_segment_once_in_sequences_that_fit():
    lengths = np.random.default_rng(0).integers(1, 14, 500)
    corpus = make_corpus([[1] * int(n) for n in lengths], 32)
    sequences = pack_epoch(corpus, 33, seed=1, epoch=0)
    sizes = np.diff(corpus.starts)
    assert sorted(s for sequence in sequences for s in sequence) == list(range(corpus.segments))
    assert max(sum(sizes[s] for s in sequence) for sequence in sequences) <= 33
    assert sizes.sum() / (33 * len(sequences)) > 0.95
    assert sequences != pack_epoch(corpus, 33, seed=1, epoch=1)


def test_batches_score_the_next_token_mask_padding_and_know_their_place():
    corpus = make_corpus([[1, 5, 6, 0], [1, 7, 0]], 8)
    stream = BatchStream(corpus, 8, 1, seed=0)
    batch = stream.next_batch()
    flat = batch.ids[0].tolist()
    assert sorted(flat[:7]) == [0, 0, 1, 1, 5, 6, 7]
    # what begins a context is no target of the one before it
    wanted = [IGNORED if i == 1 else i for i in flat[1:7]]
    assert batch.targets[0].tolist() == [*wanted, IGNORED, IGNORED]
    second = flat[1:].index(1) + 1
    assert batch.segments[0].tolist() == [0] * second + [1] * (7 - second) + [-1]
    places = batch.positions[0]
    assert torch.equal(torch.from_numpy(corpus.ids)[places[:7]].long(), batch.ids[0, :7])
    assert places[7:].tolist() == [-1]
    assert stream.epoch == 0
    stream.next_batch()
    assert stream.epoch == 1


def test_a_restored_stream_goes_on_where_it_was():
    corpus = make_corpus([[1, i, 0] for i in range(3, 60)], 8)
    stream = BatchStream(corpus, 8, 3, seed=0)
    for _ in range(11):
        stream.next_batch()
    other = BatchStream(corpus, 8, 3, seed=0)
    other.restore(stream.state())
    for _ in range(9):
        assert torch.equal(stream.next_batch().ids, other.next_batch().ids)


def test_the_eval_slice_counts_the_bytes_of_what_is_scored(tokenizer):
    documents = [record_document("hi", "naïve"), text_document("日本")]
    corpus = make_corpus(encode_documents(documents, tokenizer), 64)
    held = make_slice(corpus, tokenizer.byte_lengths(), 1000)
    first = tokenizer.byte_lengths()[tokenizer.encode_plain("日本")[0]]
    assert held.doc_bytes.tolist() == [2 + 6, 6 - first]
    assert held.doc_starts[-1] == len(held.ids) and held.ids.dtype == np.int32
    assert len(make_slice(corpus, tokenizer.byte_lengths(), 1).doc_bytes) == 1
    with pytest.raises(TrainingError, match="too short to score"):
        make_slice(make_corpus([[1]], 4), tokenizer.byte_lengths(), 10)
