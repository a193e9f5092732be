"""Retention and the named data sets."""

from __future__ import annotations

import math
import sys
from types import SimpleNamespace

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the `train` extra")

from edgesnn.bundle.bundle import read_eval_slice  # noqa: E402
from edgesnn.errors import BundleError, ConfigError, MissingExtraError, TrainingError  # noqa: E402
from edgesnn.student.artifact.evaluate import EvalDocuments, evaluate  # noqa: E402
from edgesnn.student.teacher import PassSettings, run_teacher  # noqa: E402
from edgesnn.student.teacher.retention import eval_arrays  # noqa: E402
from edgesnn.student.text.datasets_hub import HUB_DATASETS, load_hub_documents  # noqa: E402
from edgesnn.student.text.reading import load_documents  # noqa: E402
from tests.support.teacher_quality import teacher_quality  # noqa: E402

pytestmark = pytest.mark.torch


@pytest.fixture(scope="module")
def cache(teacher, trimmed, documents, tmp_path_factory):
    settings = PassSettings(k=16, max_length=48)
    return run_teacher(teacher, trimmed, documents, tmp_path_factory.mktemp("held"), settings)


class Oracle(torch.nn.Module):
    """Knows the text (or its teacher's answer) at every place it is asked about."""

    def __init__(self, cache, answers):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.size = cache.trimmed.student_size
        starts = cache.text.doc_starts
        self.known = {
            tuple(cache.text.ids[a : b - 1].tolist()): answers[a + 1 : b]
            for a, b in zip(starts[:-1], starts[1:], strict=True)
        }

    def forward(self, ids):
        logits = torch.zeros(*ids.shape, self.size)
        for row, sequence in enumerate(ids.tolist()):
            length = max(n for n in range(1, len(sequence) + 1) if tuple(sequence[:n]) in self.known)
            for place, answer in enumerate(self.known[tuple(sequence[:length])].tolist()):
                logits[row, place, answer] = 9.0
        return logits


def test_a_student_that_says_what_its_teacher_says_has_retention_one(cache):
    arrays = eval_arrays(cache)
    answers = arrays["ids"].copy()
    # a random teacher is never right; let it be at every other place
    arrays["teacher_top1"][::2] = answers[arrays["positions"][::2]]
    answers[arrays["positions"]] = arrays["teacher_top1"]
    result = evaluate(Oracle(cache, answers), EvalDocuments(**arrays)).against_teacher
    assert result.retention == pytest.approx(1)
    assert result.positions == cache.total
    assert result.student_top1 == pytest.approx(teacher_quality(arrays).top1)
    assert result.student_top1 > 0.4


def test_positions_inside_a_native_token_do_not_count(cache):
    """A student that is right only there keeps nothing of its teacher."""
    ids = np.asarray(cache.text.ids)
    answers = ids.copy()
    answers[cache.text.positions] = (ids[cache.text.positions] + 1) % cache.trimmed.student_size
    result = evaluate(Oracle(cache, answers), EvalDocuments(**eval_arrays(cache)))
    assert result.top1 > 0.1
    assert result.against_teacher.student_top1 == 0


def test_the_teachers_bits_per_byte_are_those_of_its_native_tokens(cache, teacher, trimmed, documents):
    from edgesnn.student.teacher.align import Aligner

    nats = 0.0
    for segment in Aligner(teacher, trimmed, 48).segments(documents):
        with torch.no_grad():
            logits = teacher.model(torch.from_numpy(segment.native.astype(np.int64))[None]).logits[0]
        logp = logits.double().log_softmax(-1)
        nats -= float(logp[segment.rows - 1, segment.native[segment.rows]].sum())
    size = sum(len(part.encode()) for document in documents for part in document.plain)
    quality = teacher_quality(eval_arrays(cache))
    assert quality.bits_per_byte == pytest.approx(nats / math.log(2) / size, rel=1e-4)
    assert quality.positions == cache.total


def test_the_slice_is_read_by_a_bundle_and_its_teacher_is_checked(cache, tmp_path):
    arrays = eval_arrays(cache)
    np.savez(tmp_path / "eval.npz", **arrays)
    size = cache.trimmed.student_size
    held = read_eval_slice(tmp_path / "eval.npz", size)
    assert (held.positions == arrays["positions"]).all()
    assert (held.teacher_top1 == arrays["teacher_top1"]).all()
    for wrong in (
        {"teacher_top1": arrays["teacher_top1"][1:]},
        {"positions": arrays["positions"][::-1]},
        {"positions": arrays["positions"] - 1},
        {"positions": arrays["positions"] + len(arrays["ids"])},
    ):
        np.savez(tmp_path / "wrong.npz", **{**arrays, **wrong})
        with pytest.raises(BundleError, match="do not fit its text"):
            read_eval_slice(tmp_path / "wrong.npz", size)


def test_an_unfinished_cache_gives_no_slice(cache):
    manifest = {**cache.manifest, "positions": {"done": 1, "total": cache.total}}
    with pytest.raises(TrainingError, match="not complete"):
        eval_arrays(type(cache)(cache.directory, manifest))


@pytest.fixture
def hub(monkeypatch):
    """A ``datasets`` package that gives what a test puts into it."""
    calls = []

    def load_dataset(repository, configuration, **options):
        calls.append((repository, configuration, options))
        if isinstance(fake.records, Exception):
            raise fake.records
        return fake.records

    fake = SimpleNamespace(load_dataset=load_dataset, records=[], calls=calls)
    monkeypatch.setitem(sys.modules, "datasets", fake)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    return fake


def test_wikitext_lines_are_joined_and_cut_at_its_titles(hub):
    lines = ["", " = One = \n", " Text one . \n", " = = Part = = \n", " = Two = \n", " Text two . \n"]
    hub.records = [{"text": line} for line in lines]
    documents = load_documents("wikitext-2", None).documents
    assert [document.plain[0].split()[1] for document in documents] == ["One", "Two"]
    assert hub.calls == [("Salesforce/wikitext", "wikitext-2-raw-v1", {"split": "train", "streaming": False})]


@pytest.mark.parametrize("name", ["openwebtext", "cc_news"])
def test_large_sets_are_streamed_up_to_a_limit(hub, name):
    hub.records = ({"text": f"text {i}"} for i in range(10**9))
    assert len(load_hub_documents(name, limit=7)) == 7
    assert hub.calls[0][2]["streaming"] is True


def test_a_set_out_of_reach_an_empty_one_and_an_unknown_one_are_errors(hub, monkeypatch):
    hub.records = ConnectionError("no route")
    for name in HUB_DATASETS:
        with pytest.raises(TrainingError, match=f"{name}.*cannot be read.*no route.*--dataset-path"):
            load_documents(name, None)
    hub.records = [{"text": " "}]
    with pytest.raises(TrainingError, match="holds no text"):
        load_hub_documents("cc_news")
    with pytest.raises(ConfigError, match="synthetic, wikitext-2, openwebtext, cc_news"):
        load_documents("c4", None)
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(MissingExtraError, match=r"edgesnn\[train\]"):
        load_hub_documents("cc_news")
