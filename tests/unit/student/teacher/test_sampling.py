"""A teacher's answers and rows: drawn as said, equal to a pass, the same after any interruption."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from edgesnn.errors import TrainingError, UsageError
from edgesnn.student.sampling import DrawSettings, SampleSettings, sample_answers
from edgesnn.student.sampling import run as sampling_run
from edgesnn.student.sampling.draw import draw, uniforms
from edgesnn.student.sampling.prompts import Prompts, batches, read_prompts
from edgesnn.student.teacher import load_teacher
from edgesnn.student.teacher.cache import TeacherCache
from edgesnn.student.teacher.passes import PassSettings, run_teacher
from edgesnn.student.text.reading import read_documents

PROMPTS = Prompts(
    [f"Where is the {thing}?" for thing in ("station", "park", "bakery", "old harbour", "clinic")]
    + ["Call Anna at noon.", "naïve 日本語 🙂", "Tell Bo that I am late."],
    0,
    0,
)
SETTINGS = SampleSettings(
    answers=2, max_new_tokens=12, batch_size=3, vocab_size=330, k=16, max_length=48, seed=3
)


def contents(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def whole(teacher, tmp_path_factory):
    folder = tmp_path_factory.mktemp("sampled")
    return folder, sample_answers(teacher, PROMPTS, folder, SETTINGS)


def test_every_prompt_has_its_answers(whole):
    folder, made = whole
    records = [json.loads(line) for line in (folder / "answers.jsonl").read_text().splitlines()]
    assert sorted(r["prompt"] for r in records) == sorted([*PROMPTS.texts, *PROMPTS.texts])
    assert made.complete and made.answers == 16 and not (folder / "parts").exists()
    assert made.tokens > 16 and made.positions > 16


def test_rows_are_those_of_a_pass_over_the_answers(whole, teacher, trimmed, tmp_path):
    folder, _ = whole
    documents = read_documents(folder / "answers.jsonl").documents
    passed = run_teacher(teacher, trimmed, documents, tmp_path, PassSettings(k=16, max_length=48))
    sampled = TeacherCache.open(folder / "rows")
    assert np.array_equal(sampled.text.ids, passed.text.ids)
    assert np.array_equal(sampled.text.doc_starts, passed.text.doc_starts)
    assert np.array_equal(sampled.text.doc_bytes, passed.text.doc_bytes)
    shared = np.isin(passed.text.positions, sampled.text.positions)
    assert shared.sum() == sampled.total > 0.5 * passed.total
    for name in ("tail_logp", "tail_log_sum_tau", "native_logp", "target_logp", "topk_logp"):
        expected, found = passed.array(name)[shared], sampled.array(name)
        np.testing.assert_allclose(found.astype(float), expected.astype(float), atol=2e-2)
    assert (passed.array("teacher_top1")[shared] == sampled.array("teacher_top1")).mean() > 0.98


def test_an_interrupted_run_ends_with_the_same_files(whole, teacher, tmp_path):
    rng = np.random.default_rng(11)
    for number, after in enumerate(rng.integers(1, 6, 5).tolist()):
        folder = tmp_path / str(number)
        seen = []

        def stop(progress, seen=seen, after=after):
            seen.append(progress)
            if len(seen) == after:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            sample_answers(teacher, PROMPTS, folder, SETTINGS, on_progress=stop)
        interrupted = (folder / "answers.jsonl").read_text().splitlines()
        assert len(interrupted) == seen[-1].done < 16
        assert TeacherCache.open(folder / "rows").complete
        made = sample_answers(teacher, PROMPTS, folder, SETTINGS)
        assert made.complete and contents(folder) == contents(whole[0])


@pytest.mark.parametrize("step", ["rows", "answers", "settings"])
def test_a_kill_while_the_parts_are_joined_loses_nothing(whole, teacher, tmp_path, monkeypatch, step):
    """Whatever was written last: the parts are there until everything is."""
    target = {
        "rows": (sampling_run.SampleFolder, "assemble"),
        "answers": (sampling_run.SampleFolder, "finish"),
        "settings": (TeacherCache, "append"),
    }[step]

    def killed(*arguments, **options):
        raise SystemError("killed")

    with monkeypatch.context() as patched:
        patched.setattr(*target, killed)
        with pytest.raises(SystemError):
            sample_answers(teacher, PROMPTS, tmp_path, SETTINGS)
    assert sample_answers(teacher, PROMPTS, tmp_path, SETTINGS).complete
    assert contents(tmp_path) == contents(whole[0])


def test_a_finished_run_is_not_run_again(whole, teacher):
    before = contents(whole[0])
    again = sample_answers(teacher, PROMPTS, whole[0], SETTINGS, on_progress=pytest.fail)
    assert again.complete and again.answers == 16 and again.tokens == whole[1].tokens
    assert contents(whole[0]) == before


def test_time_runs_out_between_batches(teacher, tmp_path):
    made = sample_answers(teacher, PROMPTS, tmp_path, SETTINGS, seconds=0)
    assert not made.complete and made.answers == 0 and not (tmp_path / "answers.jsonl").exists()


def test_it_stops_at_the_batch_with_the_wanted_answers_and_goes_on(whole, teacher, tmp_path):
    part = sample_answers(teacher, PROMPTS, tmp_path, SETTINGS, max_answers=5)
    assert not part.complete and 5 <= part.answers < 16
    assert sample_answers(teacher, PROMPTS, tmp_path, SETTINGS, max_answers=5).answers == part.answers
    assert sample_answers(teacher, PROMPTS, tmp_path, SETTINGS).complete
    assert contents(tmp_path) == contents(whole[0])


def test_another_run_in_the_folder_is_refused(whole, teacher):
    other = SampleSettings(DrawSettings(temperature=0.2), **{k: getattr(SETTINGS, k) for k in ("answers",)})
    with pytest.raises(TrainingError, match="belong to another run") as caught:
        sample_answers(teacher, PROMPTS, whole[0], other)
    assert "draw" in str(caught.value.actual) and "max_new_tokens" in str(caught.value.actual)


def test_a_damaged_part_is_named(teacher, tmp_path):
    def stop(progress):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sample_answers(teacher, PROMPTS, tmp_path, SETTINGS, on_progress=stop)
    part = next((tmp_path / "parts").iterdir())
    part.write_bytes(part.read_bytes()[:200])
    with pytest.raises(TrainingError, match=r"part '\d+\.npz' .* is damaged"):
        sample_answers(teacher, PROMPTS, tmp_path, SETTINGS)


@pytest.mark.parametrize("kind", ["MambaForCausalLM", "RwkvForCausalLM"])
def test_a_recurrent_teacher_answers(save_model, tmp_path, kind):
    teacher = load_teacher(str(save_model(tmp_path / "teacher", kind)), dtype="float32", system="Be brief.")
    made = sample_answers(teacher, PROMPTS, tmp_path / "out", SETTINGS)
    assert made.complete and made.answers == 16


def test_greedy_answers_are_those_of_transformers(teacher, tmp_path):
    settings = SampleSettings(
        DrawSettings(temperature=0, repetition_penalty=1.3),
        max_new_tokens=10,
        vocab_size=330,
        batch_size=2,
        max_length=64,
    )
    sample_answers(teacher, PROMPTS, tmp_path, settings)
    chat = teacher.chat
    special = {teacher.tokenizer.token_id(token) for token in teacher.tokenizer.specials()}
    barred = [[number] for number in special - {*chat.end_ids()}]
    for line in (tmp_path / "answers.jsonl").read_text().splitlines():
        record = json.loads(line)
        ids = [*chat.before, *teacher.tokenizer.encode(record["prompt"]), *chat.between]
        written = teacher.model.generate(
            torch.tensor([ids]),
            attention_mask=torch.ones(1, len(ids), dtype=torch.int64),
            max_new_tokens=10,
            do_sample=False,
            repetition_penalty=1.3,
            bad_words_ids=[word for word in barred if word[0] < teacher.tokenizer.vocab_size],
            suppress_tokens=list(range(teacher.tokenizer.vocab_size, teacher.vocab_size)),
            eos_token_id=list(chat.end_ids()),
            pad_token_id=0,
        )[0, len(ids) :].tolist()
        written = written[:-1] if written[-1] in chat.end_ids() else written
        assert teacher.tokenizer.decode(written).strip() == record["response"]


def test_draws_follow_the_nucleus():
    probabilities = np.array([0.05, 0.4, 0.3, 0.2, 0.05])
    logits = torch.from_numpy(np.log(probabilities)).float().repeat(20_000, 1)
    context = torch.zeros((20_000, 0), dtype=torch.int64)
    banned = torch.zeros(5, dtype=torch.bool)
    u = np.random.default_rng(0).random(20_000)
    found = np.bincount(draw(logits, context, banned, u, DrawSettings(1.0, 0.85, 1.0)), minlength=5)
    np.testing.assert_allclose(found / 20_000, np.array([0, 0.4, 0.3, 0.2, 0]) / 0.9, atol=0.015)
    found = np.bincount(draw(logits, context, banned, u, DrawSettings(1.0, 1.0, 1.0)), minlength=5)
    np.testing.assert_allclose(found / 20_000, probabilities, atol=0.015)
    banned[1] = True
    assert not (draw(logits, context, banned, u, DrawSettings(1.0, 1.0, 1.0)) == 1).any()


def test_a_flat_distribution_reaches_beyond_the_near_logits():
    """The nucleus of many far tokens is not cut where the quick look ends."""
    logits = torch.full((1, 200_000), -16.0)
    logits[0, 0] = 0.0
    context, banned = torch.zeros((1, 0), dtype=torch.int64), torch.zeros(200_000, dtype=torch.bool)
    share = 200_000 * np.exp(-16.0) / (1 + 200_000 * np.exp(-16.0))
    u = (np.arange(400) + 0.5) / 400
    drawn = draw(logits.repeat(400, 1), context.repeat(400, 1), banned, u, DrawSettings(1.0, 0.999, 1.0))
    assert abs((drawn != 0).mean() - share) < 0.003


def test_draws_depend_on_seed_and_answer_alone():
    assert np.array_equal(uniforms(1, 2, 5), uniforms(1, 2, 9)[:5])
    assert not np.array_equal(uniforms(1, 2, 5), uniforms(1, 3, 5))
    assert not np.array_equal(uniforms(1, 2, 5), uniforms(2, 2, 5))


def test_batches_hold_one_length_each_and_every_answer_once():
    lengths = [3, 5, 3, 3, 9, 5, 3]
    cut = batches(lengths, 2, 4, seed=1, skipped={4})
    assert sorted(number for batch in cut for number in batch) == [n for n in range(14) if n not in (8, 9)]
    assert all(len({lengths[number // 2] for number in batch}) == 1 and len(batch) <= 4 for batch in cut)
    assert cut == batches(lengths, 2, 4, seed=1, skipped={4}) != batches(lengths, 2, 4, seed=2, skipped={4})


@pytest.mark.parametrize(
    ("field", "value"), [("temperature", -1), ("top_p", 0), ("top_p", 1.5), ("repetition_penalty", 0)]
)
def test_draw_settings_are_checked(field, value):
    with pytest.raises(UsageError, match="out of range"):
        DrawSettings(**{field: value})


def test_prompts_are_read_from_lines_and_records(tmp_path):
    lines = tmp_path / "prompts.txt"
    lines.write_bytes(b"\xef\xbb\xbfWhere is it?\r\n\r\nCall Bo.\nWhere is it?\n")
    records = tmp_path / "heldout.jsonl"
    records.write_text('{"prompt": "Call Bo.", "response": "Yes."}\n"Another."\n')
    assert read_prompts(lines) == Prompts(["Where is it?", "Call Bo."], 1, 0)
    assert read_prompts(records) == Prompts(["Call Bo.", "Another."], 0, 0)
    assert read_prompts(lines, records) == Prompts(["Where is it?"], 1, 1)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "holds no prompt"),
        ('{"question": "a"}\n', "line 1 .* has no prompt"),
        ('{"prompt": "a"}\n\n{"prompt": 3}\n', "line 3 .* has no prompt"),
        ('{"prompt": "a"\n', "line 1 .* is no JSON"),
        ("[" * 100_000, "is no JSON"),
    ],
)
def test_what_is_no_prompt_is_named(tmp_path, content, said):
    path = tmp_path / "prompts.jsonl"
    path.write_text(content)
    with pytest.raises(TrainingError, match=said):
        read_prompts(path)
