from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the `train` extra")
pytest.importorskip("transformers", reason="needs the `train` extra")

from edgesnn.errors import ConfigError, MissingExtraError, TextError, TrainingError  # noqa: E402
from edgesnn.student import load_student, train_student  # noqa: E402
from edgesnn.student.teacher.cache import TeacherCache  # noqa: E402
from edgesnn.student.teacher.trimming import TrimmedVocabulary  # noqa: E402
from edgesnn.student.training import distilled_text, run  # noqa: E402
from tests.support.patience import patience  # noqa: E402

pytestmark = pytest.mark.torch

REPOSITORY = Path(__file__).parents[4]


def entries(directory):
    return [json.loads(line) for line in (Path(directory) / "train_log.jsonl").read_text().splitlines()]


def losses(directory):
    return [(entry["step"], entry["loss"]) for entry in entries(directory)]


class Stop(Exception):
    pass


def stop_after(step):
    def check(progress):
        if progress.step == step:
            raise Stop

    return check


def test_the_guides_quickstart_runs_offline(tiny_gpt2, edgesnn_here, tmp_path):
    output = tmp_path / "demo"
    done = edgesnn_here(
        *("train", "--teacher-model", tiny_gpt2, "--dataset", "synthetic", "--num-steps", 50),
        *("--batch-size", 4, "--grad-accum-steps", 2, "--output-dir", output, "--export-onnx"),
        # beside the guide's: what it costs here
        *(
            "--threads",
            1,
            "--vocab-size",
            350,
            "--max-length",
            48,
            "--dim",
            32,
            "--depth",
            1,
            "--num-heads",
            4,
        ),
        *("--mlp-dim", 64, "--rank", 16, "--windows", "2,4,8,16", "--json"),
    )
    assert done.exit_code == 0, done.stderr[-2000:]
    document = done.document
    assert document["schema"] == "edgesnn.train/1"
    assert "teacher, train:" in done.stderr and "step 50/50" in done.stderr
    metadata = json.loads((output / "metadata.json").read_text())
    assert metadata["model_type"] == "SpikingTransformerLM" and metadata["architecture_version"] == "v2.0"
    assert metadata["vocab_size"] == 350 and metadata["student_params"] > 0
    assert metadata["training_config"] | {"lr": 1e-4, "num_steps": 50} == metadata["training_config"]
    assert metadata["training_config"]["teacher_model"] == tiny_gpt2.name
    assert {"dim", "depth", "num_heads"} <= metadata["architecture"].keys()
    assert {"num_timesteps", "surrogate_type", "spike_threshold"} <= metadata["snn_config"].keys()
    results = metadata["training_results"]
    assert results["steps"] == 50 and results["avg_loss"] > 0
    assert results["eval"]["retention"] is not None and results["integer_eval"]["bits_per_byte"] > 0
    assert {"timestamp", "git_commit"} == metadata["metadata"].keys()
    assert str(tmp_path) not in json.dumps(metadata)
    for name in ("student.pt", "student.safetensors", "student.onnx", "tokenizer.json"):
        assert (output / name).is_file(), name
    held = np.load(output / "eval.npz")
    assert {"positions", "teacher_top1", "teacher_logp"} <= set(held.files)


def test_a_resumed_distillation_equals_an_uninterrupted_one_bit_for_bit(make_config, tmp_path):
    # norms freeze at step 7, the integer program begins at step 9: resuming passes into both
    whole = make_config(output_dir=str(tmp_path / "whole"), spike_rate=0.1, eval_interval=3)
    train_student(whole)
    for at in (4, 8, 9):
        output = str(tmp_path / f"broken{at}")
        broken = whole.model_copy(update={"output_dir": output, "checkpoint_interval": 1})
        with pytest.raises(Stop):
            train_student(broken, stop_after(at + 1))
        train_student(broken)
        assert losses(output) == losses(tmp_path / "whole")
        a, b = (torch.load(Path(d) / "student.pt", weights_only=True) for d in (tmp_path / "whole", output))
        assert all(torch.equal(a[name], b[name]) for name in a)


def test_teacher_and_text_both_count_in_the_loss(make_config, tmp_path):
    config = make_config(num_steps=4)
    train_student(config)
    first = entries(config.output_dir)[0]
    assert first["ce"] > 0 and first["kd"] > 0
    assert first["loss"] < 0.5 * first["ce"] + 0.5 * 4 * first["kd"] + 1e-6
    text_only = make_config(output_dir=str(tmp_path / "text"), alpha=1.0, num_steps=4)
    train_student(text_only)
    assert entries(text_only.output_dir)[0]["loss"] == pytest.approx(entries(text_only.output_dir)[0]["ce"])


def test_a_finished_cache_needs_no_teacher(make_config, monkeypatch):
    monkeypatch.setattr(distilled_text, "load_teacher", lambda *_, **__: pytest.fail("loaded"))
    trained = train_student(make_config(num_steps=2))
    assert trained.metadata["training_results"]["teacher_positions"] > 1000
    assert trained.metadata["tokenizer"]["trimmed_from"]["teacher"]


@pytest.mark.parametrize(
    ("change", "differing"),
    [
        ({"temperature": 1.5}, "tau"),
        ({"max_length": 16}, "max_length"),
        ({"eval_tokens": 200}, "limit"),
        ({"vocab_size": 340}, "vocab_size"),
    ],
)
def test_a_cache_of_another_run_is_refused_with_what_differs(make_config, change, differing):
    with pytest.raises(TrainingError, match=f"differing:.*{differing}"):
        train_student(make_config(**change))


def test_a_cache_of_another_text_is_refused(make_config, tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("\n".join(f"line {i} of another text" for i in range(200)))
    with pytest.raises(TrainingError, match="differing: text"):
        train_student(make_config(dataset_path=str(text)))


def test_the_key_of_a_text_is_the_caches(teacher_cache):
    from edgesnn.student.text.data import by_hash, split_held_out
    from edgesnn.student.text.reading import load_documents

    train, held = split_held_out(load_documents("synthetic", None).documents)
    for name, documents in (("train", train), ("heldout", by_hash(held))):
        key = TeacherCache.open(teacher_cache / name).manifest["key"]
        assert distilled_text.documents_digest(documents) == key["text"]


def test_the_artifact_holds_the_map_from_the_teachers_vocabulary(make_config, tmp_path):
    output = tmp_path / "student"
    train_student(make_config(output_dir=str(output)))
    metadata = json.loads((output / "metadata.json").read_text())
    source = metadata["tokenizer"]["trimmed_from"]
    trimmed = TrimmedVocabulary.from_bytes((output / source["file"]).read_bytes())
    assert trimmed.sha256 == source["map"]
    assert trimmed.student_size == metadata["vocab_size"]
    written = json.loads((output / "tokenizer.json").read_text(encoding="utf-8"))
    assert json.loads(trimmed.tokenizer_json())["model"]["vocab"] == written["model"]["vocab"]


def test_text_that_the_teacher_was_not_asked_about_is_still_learnt(make_config, tmp_path):
    config = make_config(
        teacher_tokens=500, teacher_cache=None, output_dir=str(tmp_path / "few"), num_steps=2
    )
    few = distilled_text.prepare_distilled(config, tmp_path / "few")
    whole = distilled_text.prepare_distilled(make_config(), tmp_path / "whole")
    assert few.cache.positions < 0.5 * whole.cache.positions
    # where a document is cut differs by a few ids; nothing is learnt twice and nothing is left out
    assert len(few.corpus.ids) == pytest.approx(len(whole.corpus.ids), rel=0.01)
    counts = [np.bincount(p.corpus.ids, minlength=350) for p in (few, whole)]
    assert np.abs(counts[0] - counts[1])[1:].sum() < 0.02 * len(whole.corpus.ids)
    places = np.arange(few.cache.readers[0].cache.text.doc_starts[-1], len(few.corpus.ids))
    assert few.cache.rows_at(torch.from_numpy(places)[None]) is None


def test_rows_of_the_cache_belong_to_the_target_they_stand_for(make_config, tmp_path):
    from edgesnn.student.text.batches import BatchStream

    prepared = distilled_text.prepare_distilled(make_config(), tmp_path)
    stream = BatchStream(prepared.corpus, 32, 8, seed=3)
    (reader,) = prepared.cache.readers
    target_logp = np.asarray(reader.cache.array("target_logp"))
    for _ in range(5):
        batch = stream.next_batch()
        rows = reader.rows_at(batch.places)
        targets = batch.targets.flatten()[rows.rows]
        places = batch.places.flatten()[rows.rows].numpy()
        assert np.array_equal(reader.cache.text.ids[places], targets.numpy())
        hit = rows.ids == targets[:, None]
        table = reader.cache.rows()[places]
        wanted = torch.from_numpy(target_logp[table])[hit.any(1)]
        stored = torch.from_numpy(np.asarray(reader.cache.array("topk_logp"))[table].astype(np.float32))
        torch.testing.assert_close(stored[hit], wanted, rtol=2e-3, atol=2e-3)
        q = torch.cat([rows.logp.exp(), rows.tail.exp()[:, None]], 1)
        torch.testing.assert_close(q.sum(1), torch.ones(len(q)), rtol=1e-4, atol=1e-4)


def test_a_tokenizer_that_is_no_byte_level_bpe_is_refused(tmp_path, make_config):
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

    words = {"[UNK]": 0, "a": 1, "b": 2, "<|endoftext|>": 3}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    config = GPT2Config(vocab_size=4, n_positions=64, n_embd=8, n_layer=1, n_head=1)
    GPT2LMHeadModel(config).save_pretrained(tmp_path / "words")
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|endoftext|>").save_pretrained(
        tmp_path / "words"
    )
    changed = make_config(teacher_model=str(tmp_path / "words"), teacher_cache=str(tmp_path / "cache"))
    with pytest.raises(TextError, match="cannot be trimmed"):
        train_student(changed)


def test_divergence_keeps_the_last_good_state_and_a_lower_rate_goes_on_from_it(make_config, monkeypatch):
    monkeypatch.setattr(run, "RECENT", 2)
    config = make_config(num_steps=12, checkpoint_interval=100)

    class Breaks:
        calls = 0

        def __call__(self, logits, batch):
            self.calls += 1
            return logits.square().mean() * (float("nan") if self.calls == 7 else 1.0)

    with pytest.raises(TrainingError, match="diverged at step 7.*last good state is kept"):
        train_student(config, loss=Breaks())
    seen = []
    train_student(config.model_copy(update={"lr": 1e-4}), lambda progress: seen.append(progress.step))
    assert seen[0] == 7 and seen[-1] == 12


def test_out_of_memory_names_the_knobs(make_config):
    def full(logits, batch):
        raise RuntimeError(
            "[enforce fail] DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes"
        )

    with pytest.raises(TrainingError, match="--batch-size.*--gradient-checkpointing"):
        train_student(make_config(), loss=full)

    def broken(logits, batch):
        raise RuntimeError("something else")

    with pytest.raises(RuntimeError, match="something else"):
        train_student(make_config(resume=False), loss=broken)


def test_the_best_student_of_the_last_phase_is_the_one_that_is_written(make_config, monkeypatch):
    scores = iter([0.1, 0.2, 3.0, 1.0, 2.0])
    real = run.evaluate

    def fake(model, held_out, *rest):
        scored = real(model, held_out, *rest)
        if held_out.positions is None:
            import dataclasses

            return dataclasses.replace(scored, bits_per_byte=next(scores))
        return scored

    monkeypatch.setattr(run, "evaluate", fake)
    config = make_config(num_steps=10, eval_interval=2, integer_share=0.0, freeze_share=0.6)
    results = train_student(config).metadata["training_results"]
    assert results["best_step"] == 8
    scored = [e["eval_bits_per_byte"] for e in entries(config.output_dir) if "eval_bits_per_byte" in e]
    assert scored == [0.1, 0.2, 3.0, 1.0, 2.0]


def test_curve_and_tensorboard_are_written(make_config):
    pytest.importorskip("matplotlib")
    pytest.importorskip("tensorboard")
    config = make_config(tensorboard=True, eval_interval=5)
    train_student(config)
    output = Path(config.output_dir)
    assert (output / "learning_curve.png").read_bytes().startswith(b"\x89PNG")
    assert list((output / "tensorboard").glob("events*"))


def test_a_missing_optional_package_says_which_extra(make_config, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(MissingExtraError, match="tensorboard"):
        train_student(make_config(tensorboard=True))


@pytest.mark.parametrize("target", [0.03, 0.3])
def test_the_spike_rate_moves_toward_its_target(make_config, tmp_path, target):
    config = make_config(
        num_steps=60, spike_rate=target, spike_rate_weight=1.0, freeze_share=0.1, integer_share=0.0
    )
    rates = train_student(config).metadata["training_results"]["spike_rates"]
    mean = sum(rates.values()) / len(rates)
    assert mean < 0.08 if target == 0.03 else mean > 0.12


def test_a_random_teacher_is_doubted_aloud_and_in_the_metadata(make_config, tmp_path):
    said = []
    trained = train_student(make_config(num_steps=2), on_doubt=said.append)
    results = trained.metadata["training_results"]
    assert said == [results["teacher_doubt"]] and "near chance" in said[0]


def test_perplexity_stands_beside_bits_per_byte_of_the_same_nats(make_config):
    trained = train_student(make_config(num_steps=2))
    found = trained.metadata["training_results"]["eval"]
    held = np.load(trained.directory / "eval.npz")
    nats = found["bits_per_byte"] * np.log(2) * held["doc_bytes"].sum()
    assert found["perplexity"] == pytest.approx(np.exp(nats / len(held["positions"])))
    assert found["own_perplexity"] == pytest.approx(np.exp(nats / found["tokens"]))


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_every_precision_learns(make_config, tmp_path, precision):
    config = make_config(num_steps=40, precision=precision, output_dir=str(tmp_path / precision))
    train_student(config)
    curve = [entry["ce"] for entry in entries(config.output_dir)]
    assert sum(curve[-5:]) < sum(curve[:5]) - 2.0


@pytest.mark.slow
def test_two_processes_train_the_same_student_from_one_launch(make_config, tmp_path):
    pytest.importorskip("accelerate")
    config = make_config(batch_size=2, num_steps=6, output_dir=str(tmp_path / "two"), checkpoint_interval=2)
    script = tmp_path / "launch.py"
    script.write_text(
        "import sys\n"
        "from edgesnn.student import TrainConfig, train_student\n"
        "train_student(TrainConfig.model_validate_json(open(sys.argv[1]).read()))\n"
    )
    (tmp_path / "config.json").write_text(
        config.model_copy(update={"device": "cpu", "threads": 1}).model_dump_json()
    )
    command = [sys.executable, "-m", "accelerate.commands.launch", "--cpu", "--num_processes", "2"]
    command += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"]
    command += ["--main_process_port", "0", str(script), str(tmp_path / "config.json")]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=patience(), check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    two = entries(tmp_path / "two")
    assert [entry["step"] for entry in two] == list(range(1, 7))
    one = make_config(batch_size=4, num_steps=6, output_dir=str(tmp_path / "one"))
    train_student(one)
    # the same sequences; statistics of the norms are those of each process's half
    assert two[0]["loss"] == pytest.approx(entries(one.output_dir)[0]["loss"], rel=0.15)
    model, metadata = load_student(tmp_path / "two")
    assert metadata["training_results"]["steps"] == 6


def test_an_unknown_device_is_an_error(make_config):
    with pytest.raises(ConfigError, match="'nowhere' is not here"):
        train_student(make_config(device="nowhere"))
