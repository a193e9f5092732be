"""A student trained on sampled answers: no teacher is loaded, every row is the one that was sampled."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from edgesnn.errors import TrainingError
from edgesnn.student.config import TrainConfig
from edgesnn.student.sampling import DrawSettings, SampleSettings, sample_answers
from edgesnn.student.sampling.prompts import Prompts
from edgesnn.student.teacher.cache import TeacherCache
from edgesnn.student.text.data import synthetic_records
from edgesnn.student.training import distilled_text
from edgesnn.student.training.distilled_text import prepare_distilled
from tests.support.patience import patience

PROMPTS = Prompts(list(dict.fromkeys(prompt for prompt, _ in synthetic_records()[::3])), 0, 0)
#: The tiny teacher repeats the line feed before its answer; drawn this flat, it says a word now and then.
FLAT = DrawSettings(temperature=1000, top_p=1, repetition_penalty=1)


@pytest.fixture(scope="module")
def sampled(teacher, tmp_path_factory):
    folders = []
    for seed in (0, 1):
        folder = tmp_path_factory.mktemp("sampled")
        sample_answers(
            teacher,
            PROMPTS,
            folder,
            SampleSettings(
                FLAT, max_new_tokens=1, batch_size=8, vocab_size=330, k=16, max_length=48, seed=seed
            ),
        )
        folders.append(folder)
    return folders


def config_for(folders, tmp_path, **options):
    return TrainConfig(
        output_dir=str(tmp_path / "student"), sampled=tuple(map(str, folders)), teacher_model="teacher",
        vocab_size=330, max_length=48, temperature=2.0, num_steps=2, git_tracking=False,
        architecture_options={"dim": 16, "depth": 1, "num_heads": 2, "mlp_dim": 16, "rank": 8,
                              "windows": [4, 8]},
        **options,
    )  # fmt: skip


@pytest.fixture
def no_teacher(monkeypatch):
    monkeypatch.setattr(distilled_text, "load_teacher", lambda *a, **k: pytest.fail("a teacher was loaded"))


@pytest.mark.usefixtures("no_teacher")
def test_rows_stand_where_they_were_sampled(sampled, tmp_path):
    import torch

    prepared = prepare_distilled(config_for(sampled, tmp_path), tmp_path)
    corpus, checked = prepared.corpus, 0
    caches = [TeacherCache.open(folder / "rows") for folder in sampled]
    spellings = {}
    for cache in caches:
        text, rows = cache.text, cache.rows()
        for a, b in zip(text.doc_starts, text.doc_starts[1:], strict=False):
            spellings.setdefault(tuple(text.ids[a:b].tolist()), []).append((cache, rows[a:b]))
    for a, b in zip(corpus.starts, corpus.starts[1:], strict=False):
        found = prepared.cache.rows_at(torch.from_numpy(corpus.origins[a:b])[None])
        candidates = spellings[tuple(corpus.ids[a:b].tolist())]
        given = [] if found is None else found.rows.tolist()
        matches = [
            np.array_equal(np.flatnonzero(rows >= 0), given)
            and (not given or np.array_equal(cache.array("topk_ids")[rows[rows >= 0]], found.ids))
            for cache, rows in candidates
        ]
        assert any(matches)
        checked += len(given)
    assert checked > 100


@pytest.mark.usefixtures("no_teacher")
def test_held_out_prompts_are_in_no_batch(sampled, tmp_path):
    prepared = prepare_distilled(config_for(sampled, tmp_path), tmp_path)
    held, corpus = prepared.held_out, prepared.corpus
    inside = {tuple(corpus.ids[a:b].tolist()) for a, b in zip(corpus.starts, corpus.starts[1:], strict=False)}
    outside = [
        tuple(held.ids[a:b].tolist()) for a, b in zip(held.doc_starts, held.doc_starts[1:], strict=False)
    ]
    assert outside and inside.isdisjoint(outside)
    assert len(held.positions) == len(held.teacher_top1) > 5
    assert (held.teacher_native_logp <= held.teacher_logp + 1e-3).all()


def test_beside_other_text_the_rows_follow_it(sampled, teacher, teacher_folder, tmp_path):
    import torch

    path = tmp_path / "text.jsonl"
    lines = [json.dumps({"prompt": p, "response": r}) for p, r in synthetic_records()[1::60]]
    path.write_text("\n".join(lines))
    config = config_for(
        sampled[:1], tmp_path, dataset_path=str(path), eval_path=str(path), teacher_tokens=20
    ).model_copy(update={"teacher_model": str(teacher_folder)})
    with pytest.raises(TrainingError, match="different numbers of tokens"):
        prepare_distilled(config, tmp_path / "a", teacher=teacher)  # 64 are kept of a pass, 16 of the sample
    folder = tmp_path / "more"
    sample_answers(
        teacher, PROMPTS, folder, SampleSettings(FLAT, max_new_tokens=1, vocab_size=330, max_length=48)
    )
    config = config.model_copy(update={"sampled": (str(folder),)})
    prepared = prepare_distilled(config, tmp_path / "b", teacher=teacher)
    cache = TeacherCache.open(folder / "rows")
    assert prepared.cache.positions == 20 + cache.total or prepared.cache.positions > cache.total
    first = len(prepared.corpus.ids) - len(cache.text.ids)
    places = first + np.asarray(cache.text.positions[:5])
    found = prepared.cache.rows_at(torch.from_numpy(places)[None])
    assert np.array_equal(cache.array("topk_ids")[:5], found.ids)


@pytest.mark.usefixtures("no_teacher")
def test_what_does_not_fit_is_refused(sampled, tmp_path):
    with pytest.raises(TrainingError, match="cut for longer sequences"):
        prepare_distilled(config_for(sampled, tmp_path).model_copy(update={"max_length": 32}), tmp_path)
    with pytest.raises(TrainingError, match="another temperature"):
        prepare_distilled(config_for(sampled, tmp_path).model_copy(update={"temperature": 3.0}), tmp_path)
    with pytest.raises(TrainingError, match="holds no sampled answers"):
        prepare_distilled(config_for([tmp_path / "none"], tmp_path), tmp_path)
    with pytest.raises(ValueError, match="sampled answers have a teacher"):
        TrainConfig(sampled=("folder",))


@pytest.mark.parametrize(
    "kills",
    [
        1,
        pytest.param(
            5,
            marks=pytest.mark.long(
                guarded_by="tests/unit/student/teacher/test_sampled_training.py"
                "::test_a_killed_command_ends_with_the_same_files_and_trains"
            ),
        ),
    ],
)
def test_a_killed_command_ends_with_the_same_files_and_trains(teacher_folder, edgesnn_here, tmp_path, kills):
    """The whole way as typed; kills come at random moments after the next part."""
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("\n".join(PROMPTS.texts * 2) + "\n")

    def command(folder):
        return (
            "sample", str(prompts), "-o", str(folder), "--teacher-model", str(teacher_folder),
            "--vocab-size", "330", "--max-length", "48", "--max-new-tokens", "1", "--batch-size", "2",
            "--temperature", "1000", "--top-p", "1", "--threads", "1", "--json",
        )  # fmt: skip

    whole = edgesnn_here(*command(tmp_path / "whole"))
    assert whole.exit_code == 0, whole.stderr
    document = whole.document
    assert document["complete"] and document["repeated"] == len(PROMPTS.texts)
    rng, killed = np.random.default_rng(5), tmp_path / "killed"
    parts = killed / "parts"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    ended = 0
    for _ in range(kills):
        before = len(list(parts.glob("*.npz"))) if parts.is_dir() else 0
        process = subprocess.Popen(
            [sys.executable, "-m", "edgesnn.cli.main", *command(killed)],
            stdout=subprocess.DEVNULL,
            env=environment,
        )
        until = time.monotonic() + patience(120)
        while process.poll() is None and time.monotonic() < until:
            if parts.is_dir() and len(list(parts.glob("*.npz"))) > before:
                break
            time.sleep(0.005)
        time.sleep(float(rng.random()) * 0.05)
        process.send_signal(signal.SIGKILL)
        ended += process.wait() == -signal.SIGKILL
        if not parts.is_dir():
            break  # it was done before the signal came
    assert ended, "no kill came in time"
    resumed = edgesnn_here(*command(killed))
    assert resumed.exit_code == 0, resumed.stderr

    def files(folder):
        return {p.relative_to(folder): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}

    assert files(killed) == files(tmp_path / "whole")
    teacher_folder.rename(teacher_folder.with_name("gone"))
    try:
        trained = edgesnn_here(
            "train", "--sampled", killed, "--output-dir", tmp_path / "student", "--temperature", "2",
            "--vocab-size", "330", "--max-length", "48", "--num-steps", "2", "--dim", "16", "--depth", "1",
            "--num-heads", "2", "--rank", "8", "--windows", "4,8", "--threads", "1", "--json",
        )  # fmt: skip
    finally:
        teacher_folder.with_name("gone").rename(teacher_folder)
    assert trained.exit_code == 0, trained.stderr
    results = trained.document["training_results"]
    assert results["teacher_positions"] == document["positions"]
    assert results["eval"]["teacher_top1"] is not None
    assert trained.document["config"]["sampled"] == ["killed"]
