from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="needs the `train` extra")

from pydantic import BaseModel  # noqa: E402

from edgesnn import whole_files  # noqa: E402
from edgesnn.errors import ConfigError, OutputError, TrainingError  # noqa: E402
from edgesnn.student import load_student, train_student  # noqa: E402
from edgesnn.student.model import registry  # noqa: E402
from edgesnn.student.training.checkpoint import DelayedInterrupt  # noqa: E402
from edgesnn.student.training.objective import learning_rate, make_optimizer, spike_rate_target  # noqa: E402
from tests.support.patience import patience, wait_for  # noqa: E402

pytestmark = pytest.mark.torch

REPOSITORY = Path(__file__).parents[3]


def losses(directory) -> list[tuple[int, float]]:
    lines = (Path(directory) / "train_log.jsonl").read_text().splitlines()
    return [(entry["step"], entry["loss"]) for entry in map(json.loads, lines)]


class Stop(Exception):
    pass


def stop_after(step):
    def check(progress):
        if progress.step == step:
            raise Stop

    return check


def test_the_loss_falls_in_fifty_steps_of_the_synthetic_set(make_config, tmp_path):
    trained = train_student(make_config(num_steps=50, batch_size=8))
    curve = [loss for _, loss in losses(tmp_path / "student")]
    assert len(curve) == 50
    assert sum(curve[-5:]) / 5 < sum(curve[:5]) / 5 - 1.0
    assert trained.metadata["training_results"]["eval"]["top1"] > 0.2


def test_training_and_evaluation_agree_once_the_statistics_are_frozen(make_config, tmp_path):
    config = make_config(num_steps=60, batch_size=8, scheduler="cosine", warmup_steps=4)
    results = train_student(config).metadata["training_results"]
    model, _ = load_student(tmp_path / "student")
    curve = [loss for _, loss in losses(tmp_path / "student")]
    import numpy as np

    held = np.load(tmp_path / "student" / "eval.npz")
    nats = results["eval"]["bits_per_byte"] * 0.6931 * held["doc_bytes"].sum() / results["eval"]["tokens"]
    assert nats == pytest.approx(sum(curve[-9:]) / 9, abs=0.35)
    assert not model.training


@pytest.mark.parametrize("resumed_at", [2, 6])
def test_a_resumed_run_equals_an_uninterrupted_one_bit_for_bit(make_config, tmp_path, resumed_at):
    # freezing starts at step 7 of 8, so the resumed run also passes into it
    whole = make_config(output_dir=str(tmp_path / "whole"), freeze_share=0.25, grad_accum_steps=2)
    train_student(whole)
    broken = whole.model_copy(update={"output_dir": str(tmp_path / "broken"), "checkpoint_interval": 2})
    with pytest.raises(Stop):
        train_student(broken, stop_after(resumed_at + 1))
    train_student(broken)
    assert losses(tmp_path / "broken") == losses(tmp_path / "whole")
    a, b = (torch.load(tmp_path / d / "student.pt", weights_only=True) for d in ("whole", "broken"))
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert not (tmp_path / "broken" / "training").exists()


def test_a_run_killed_in_the_middle_goes_on_bit_for_bit(make_config, tmp_path):
    whole = make_config(output_dir=str(tmp_path / "whole"), num_steps=30)
    train_student(whole)
    config = whole.model_copy(update={"output_dir": str(tmp_path / "killed"), "checkpoint_interval": 3})
    script = (
        "import sys, torch; torch.set_num_threads(1)\n"
        "from edgesnn.student import TrainConfig, train_student\n"
        "train_student(TrainConfig.model_validate_json(sys.argv[1]))\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script, config.model_dump_json()],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )
    log = tmp_path / "killed" / "train_log.jsonl"

    def seven_steps():
        assert process.poll() is None
        return log.is_file() and len(log.read_bytes().splitlines()) >= 7

    wait_for(seven_steps, every=0.005)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert (tmp_path / "killed" / "training" / "checkpoint.pt").is_file()
    assert not (tmp_path / "killed" / "metadata.json").exists()
    seen = []
    train_student(config, lambda progress: seen.append(progress.step))
    assert 1 < seen[0] < 30
    assert losses(tmp_path / "killed") == losses(tmp_path / "whole")


def test_another_configuration_names_the_keys_that_differ(make_config, tmp_path):
    config = make_config(checkpoint_interval=2)
    with pytest.raises(Stop):
        train_student(config, stop_after(3))
    other = config.model_copy(
        update={"lr": 1e-3, "architecture_options": {**config.architecture_options, "mlp_dim": 48}}
    )
    with pytest.raises(TrainingError, match="differing: architecture_options.mlp_dim, lr"):
        train_student(other)
    train_student(other.model_copy(update={"resume": False, "num_steps": 2}))
    assert len(losses(config.output_dir)) == 2


def test_a_damaged_checkpoint_is_refused(make_config):
    config = make_config(checkpoint_interval=2)
    with pytest.raises(Stop):
        train_student(config, stop_after(3))
    path = Path(config.output_dir) / "training" / "checkpoint.pt"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(TrainingError, match="damaged"):
        train_student(config)


def test_ctrl_c_saves_a_checkpoint_between_two_steps(make_config):
    config = make_config(checkpoint_interval=0)

    def interrupt(progress):
        if progress.step == 3:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        train_student(config, interrupt)
    seen = []
    train_student(config, lambda progress: seen.append(progress.step))
    assert seen == [4, 5, 6, 7, 8]


def test_a_second_ctrl_c_interrupts_at_once():
    with pytest.raises(KeyboardInterrupt), DelayedInterrupt() as interrupt:
        os.kill(os.getpid(), signal.SIGINT)
        assert interrupt.requested
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(patience())


def test_a_full_disk_leaves_the_last_good_checkpoint(make_config, monkeypatch):
    config = make_config(checkpoint_interval=2)
    real = os.fsync

    def fill(progress):
        if progress.step == 3:

            def full(_):
                raise OSError(28, "No space left on device")

            monkeypatch.setattr(whole_files.os, "fsync", full)

    with pytest.raises(OutputError, match="No space left"):
        train_student(config, fill)
    monkeypatch.setattr(whole_files.os, "fsync", real)
    work = Path(config.output_dir) / "training"
    assert not [path for path in work.iterdir() if path.name.startswith(".")]
    seen = []
    train_student(config, lambda progress: seen.append(progress.step))
    assert seen[0] == 3


def test_a_loss_that_is_no_number_stops_with_the_checkpoint_kept(make_config):
    config = make_config(checkpoint_interval=2)

    class Breaks:
        calls = 0

        def __call__(self, logits, batch):
            self.calls += 1
            return logits.mean() * (float("nan") if self.calls == 4 else 1.0)

    with pytest.raises(TrainingError, match="diverged at step 4"):
        train_student(config, loss=Breaks())
    assert (Path(config.output_dir) / "training" / "checkpoint.pt").is_file()
    assert not (Path(config.output_dir) / "metadata.json").exists()


class ToyConfig(BaseModel):
    width: int = 8


class Toy(torch.nn.Module):
    def __init__(self, config, snn, vocab_size, log_unigram):
        super().__init__()
        self.table = torch.nn.Embedding(vocab_size, config.width)
        self.head = torch.nn.Linear(config.width, vocab_size)
        self.calls = []

    def forward(self, ids):
        return self.head(self.table(ids))

    def constrain_(self):
        self.calls.append("constrain")

    def freeze_statistics(self):
        self.calls.append("freeze")

    def record_spike_rates(self, enabled):
        pass

    def spike_rates(self):
        return {}

    def describe(self):
        return {"name": "toy", "width": 8}


def test_a_new_architecture_needs_no_change_of_the_trainer(make_config):
    built = []

    def build(*args):
        built.append(Toy(*args))
        return built[-1]

    registry.register(registry.Architecture("toy", ToyConfig, build, "ToyLM", "v0"))
    try:
        assert "toy" in registry.names()
        trained = train_student(make_config(architecture="toy", architecture_options={"width": 8}))
        assert trained.metadata["model_type"] == "ToyLM"
        assert built[0].calls == [*["constrain"] * 7, "freeze", "constrain"]
        assert isinstance(built[0], registry.Student)
        model, _ = load_student(trained.directory)
        assert isinstance(model, Toy)
        with pytest.raises(ConfigError, match="'toy', width"):
            train_student(make_config(architecture="toy", architecture_options={"width": "wide"}))
    finally:
        registry._REGISTRY.pop("toy")


def test_the_state_of_an_optimizer_that_was_not_fused_goes_on(make_config):
    model = torch.nn.Linear(3, 2)
    old = torch.optim.AdamW(make_optimizer(model, make_config()).param_groups, lr=0.1, fused=False)
    for group in old.param_groups:
        group["fused"] = None
    model(torch.ones(3)).sum().backward()
    old.step()
    new = make_optimizer(model, make_config())
    new.load_state_dict(old.state_dict())
    before = model.weight.detach().clone()
    new.step()
    assert not torch.equal(model.weight, before)


def test_the_spike_rate_target_falls_in_a_line_over_the_first_half_and_stays(make_config):
    config = make_config(num_steps=8, warmup_steps=0, spike_rate=0.05)
    targets = [spike_rate_target(config, step) for step in range(8)]
    assert targets == pytest.approx([0.25, 0.2, 0.15, 0.1, 0.05, 0.05, 0.05, 0.05])


def test_a_spike_rate_target_that_binds_nobody_is_not_annealed(make_config):
    assert spike_rate_target(make_config(spike_rate=0.4), 0) == 0.4
    assert spike_rate_target(make_config(), 0) is None


def test_learning_rates_follow_warm_up_and_schedule(make_config):
    def rates(name, **more):
        config = make_config(scheduler=name, lr=1.0, num_steps=10, **more)
        return [learning_rate(config, step) for step in range(10)]

    assert rates("constant", warmup_steps=2) == [0.5, *[1.0] * 9]
    assert rates("linear", warmup_steps=0) == pytest.approx([1 - s / 10 for s in range(10)])
    cosine = rates("cosine", warmup_steps=2)
    assert cosine[:3] == [0.5, 1.0, 1.0] and cosine[6] == pytest.approx(0.5)
    assert all(a >= b for a, b in zip(cosine[2:], cosine[3:], strict=False))


def test_too_little_text_and_an_unwritable_directory_are_errors(make_config, tmp_path):
    text = tmp_path / "short.txt"
    text.write_text("a\nb")
    with pytest.raises(TrainingError, match="too short for one sequence"):
        train_student(make_config(dataset_path=str(text)))
    with pytest.raises(OutputError, match="cannot create"):
        train_student(make_config(output_dir=str(text / "below")))
