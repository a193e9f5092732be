"""The student's vocabulary: lossless, aligned with the teacher's tokens, refused where it cannot be."""

from __future__ import annotations

import json

import numpy as np
import pytest

from edgesnn.errors import TextError
from edgesnn.student.teacher.trimming import NO_TOKEN, TrimmedVocabulary, native_tokenizer_json
from edgesnn.student.text.data import synthetic_records
from tests.support.spellings import spellings

pytestmark = pytest.mark.torch

ENDS = ("<|endoftext|>", "<|im_end|>")
TEXTS = (
    "Set a timer for ten minutes.",
    " naïve\n\t  日本語 🙂 ",
    "\x00\x7f  a  b",
    "",
    "The the THE 12345 won't",
    "e\u0301 \ufeff ￿",
)


@pytest.fixture(scope="module")
def native_json(native_tokenizer):
    return native_tokenizer_json(native_tokenizer.to_str())


@pytest.mark.parametrize("size", [263, 300, 450, 700, 5000])
def test_every_text_survives_the_round_trip_at_every_size(native_json, native_tokenizer, size):
    trimmed = TrimmedVocabulary.build(native_json, size, ENDS)
    assert trimmed.student_size == min(size, native_tokenizer.get_vocab_size() + 1)
    for text in TEXTS:
        ids = trimmed.tokenizer.encode_plain(text)
        assert trimmed.tokenizer.decode(ids) == text
        assert sum(trimmed.tokenizer.byte_lengths()[i] for i in ids) == len(text.encode())


def test_special_tokens_come_first_then_bytes_then_the_first_merges(native_json):
    trimmed = TrimmedVocabulary.build(native_json, 300, ENDS)
    vocab = json.loads(trimmed.tokenizer_json())["model"]["vocab"]
    names = sorted(vocab, key=vocab.get)
    assert names[:5] == ["<|endoftext|>", "<|user|>", "<|assistant|>", "<|im_start|>", "<file_sep>"]
    assert all(len(name) == 1 for name in names[5:261])
    merges = json.loads(native_json)["model"]["merges"]
    products = ["".join(m.split(" ") if isinstance(m, str) else m) for m in merges]
    assert names[261:] == products[: 300 - 261]


def test_trimmed_spelling_is_the_native_one_taken_apart(native_json, native_tokenizer):
    trimmed = TrimmedVocabulary.build(native_json, 330, ENDS)
    for text in [*TEXTS, *(t for record in synthetic_records()[::7] for t in record)]:
        native = np.array(native_tokenizer.encode(text).ids, np.int64)
        ids, starts = trimmed.spell(native)
        assert ids.tolist() == trimmed.tokenizer.encode(text)
        assert ids[starts].tolist() == trimmed.first_piece[native].tolist()
        assert ids.tolist() == [i for n in native.tolist() for i in spellings(trimmed)[n]]


def test_every_native_token_spells_its_own_bytes(native_json, native_tokenizer):
    trimmed = TrimmedVocabulary.build(native_json, 330, ENDS)
    lengths = trimmed.tokenizer.byte_lengths()
    for number in range(4, native_tokenizer.get_vocab_size()):
        token = native_tokenizer.id_to_token(number)
        assert sum(lengths[i] for i in spellings(trimmed)[number]) == len(token)


def test_end_tokens_become_end_of_text_and_other_special_tokens_are_kept(native_json, native_tokenizer):
    trimmed = TrimmedVocabulary.build(native_json, 330, ENDS)
    assert spellings(trimmed)[native_tokenizer.token_to_id("<|im_end|>")] == (0,)
    kept = spellings(trimmed)[native_tokenizer.token_to_id("<file_sep>")]
    assert kept == (trimmed.tokenizer.token_id("<file_sep>"),)


def test_bytes_that_the_teacher_lacks_are_added(native_json):
    document = json.loads(native_json)
    model = document["model"]
    model["merges"] = []
    model["vocab"] = {token: i for token, i in model["vocab"].items() if len(token) == 1 and token != "Q"}
    trimmed = TrimmedVocabulary.build(json.dumps(document), 400, ("<|endoftext|>",))
    assert trimmed.tokenizer.decode(trimmed.tokenizer.encode("Quick")) == "Quick"
    gap = next(i for i in range(trimmed.native_size) if not spellings(trimmed)[i])
    assert trimmed.first_piece[gap] == NO_TOKEN
    with pytest.raises(TextError, match="no spelling"):
        trimmed.spell(np.array([gap]))


def test_the_map_survives_its_file_and_a_damaged_file_is_an_error(native_json):
    trimmed = TrimmedVocabulary.build(native_json, 330, ENDS)
    content = trimmed.to_bytes()
    again = TrimmedVocabulary.from_bytes(content)
    assert again.sha256 == trimmed.sha256
    assert spellings(again) == spellings(trimmed)
    for damaged in (content[: len(content) // 2], b"", b"PK\x03\x04" + bytes(50)):
        with pytest.raises(TextError, match="damaged"):
            TrimmedVocabulary.from_bytes(damaged)


def test_too_small_a_vocabulary_names_the_least(native_json):
    with pytest.raises(TextError, match="at least 261"):
        TrimmedVocabulary.build(native_json, 260, ENDS)


def test_an_unknown_end_token_is_an_error(native_json):
    with pytest.raises(TextError, match="no such end token"):
        TrimmedVocabulary.build(native_json, 330, ("</s>",))


def _changed(native_json, **changes):
    document = json.loads(native_json)
    model = changes.pop("model", {})
    document.update(changes)
    document["model"].update(model)
    return json.dumps(document)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"model": {"type": "Unigram"}}, "its model is Unigram"),
        ({"model": {"type": "WordPiece"}}, "its model is WordPiece"),
        ({"pre_tokenizer": {"type": "Whitespace"}}, "does not split text into bytes"),
        ({"pre_tokenizer": None, "model": {"byte_fallback": True}}, "falls back to bytes"),
        ({"normalizer": {"type": "Lowercase"}}, "it normalises text"),
        ({"model": {"continuing_subword_prefix": "##"}}, "it marks subwords"),
    ],
)
def test_a_tokenizer_that_is_no_byte_level_bpe_is_refused_with_the_reason(native_json, changes, reason):
    with pytest.raises(TextError, match=reason):
        TrimmedVocabulary.build(_changed(native_json, **changes), 330, ENDS)


@pytest.mark.parametrize("text", ["", "[]", "{}", "not json", '{"model": 3}'])
def test_what_is_no_tokenizer_is_an_error(text):
    with pytest.raises(TextError, match=r"no tokenizer\.json"):
        TrimmedVocabulary.build(text, 330)


def test_a_prefix_space_and_a_normaliser_do_not_change_the_students_text(native_json):
    raw = _changed(
        native_json,
        normalizer={"type": "NFC"},
        pre_tokenizer={
            "type": "Sequence",
            "pretokenizers": [
                {"type": "Digits", "individual_digits": True},
                {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
            ],
        },
    )
    trimmed = TrimmedVocabulary.build(raw, 400, ENDS)
    for text in TEXTS:
        assert trimmed.tokenizer.decode(trimmed.tokenizer.encode_plain(text)) == text


@pytest.fixture
def with_added(native_tokenizer):
    """The native tokenizer with added tokens in every alphabet, one of a single byte character."""
    from tokenizers import AddedToken, Tokenizer

    tokenizer = Tokenizer.from_str(native_tokenizer.to_str())
    names = ("Caf\u00e9", "\u0111em", "\u4f60\u597d", "\u00e9", "<think>", "  ", "\u0120x")
    tokenizer.add_tokens([AddedToken(name, normalized=False, rstrip=name == "Caf\u00e9") for name in names])
    return native_tokenizer_json(tokenizer.to_str())


@pytest.mark.parametrize(
    "text",
    [
        "Caf\u00e9",
        "\u0111em",
        "\u4f60\u597d!",
        "\u00e9t\u00e9",
        "at the Caf\u00e9  \u4f60\u597d <think>",
        "\u0120x x",
        "\u00c3\u00a9",
    ],
)
def test_added_tokens_are_text_in_lengths_in_decoding_and_for_other_readers(with_added, text):
    from tokenizers import Tokenizer

    trimmed = TrimmedVocabulary.build(with_added, 400, ENDS)
    ids = trimmed.tokenizer.encode_plain(text)
    assert trimmed.tokenizer.decode(ids) == text
    assert sum(trimmed.tokenizer.byte_lengths()[i] for i in ids) == len(text.encode())
    assert b"".join(trimmed.tokenizer.token_bytes()[i] for i in ids) == text.encode()
    assert Tokenizer.from_str(trimmed.tokenizer_json()).decode(ids) == text


def test_added_tokens_keep_their_place_under_a_teacher_and_a_reference(with_added):
    from tokenizers import Tokenizer

    from edgesnn.text.tokenizer import TextTokenizer

    native = TextTokenizer(Tokenizer.from_str(with_added))
    trimmed = TrimmedVocabulary.build(with_added, 400, ENDS)
    for text in ("the Caf\u00e9", "\u4f60\u597d"):
        spelt, _ = trimmed.spell(np.array(native.encode(text)))
        assert spelt.tolist() == trimmed.tokenizer.encode(text)
    pieces = native.first_pieces_in(trimmed.tokenizer)
    for token in ("Caf\u00e9", "\u0111em", "<think>"):
        assert pieces[native.token_id(token)] == trimmed.tokenizer.token_id(token)


def test_ids_between_the_used_ones_stand_for_nothing(native_tokenizer):
    from tokenizers import Tokenizer

    from edgesnn.text.tokenizer import TextTokenizer

    document = json.loads(native_tokenizer.to_str())
    entry = {"content": "<far>", "single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    document["added_tokens"].append({"id": 710, "special": True, **entry})
    document["model"]["vocab"]["<far>"] = 710
    tokenizer = TextTokenizer(Tokenizer.from_str(json.dumps(document)))
    assert tokenizer.vocab_size == 711
    assert tokenizer.token_bytes()[705:] == [b""] * 6
