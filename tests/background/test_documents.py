"""Every snippet and every command of the background documents runs here, and its results are looked at.

Only import lines and program names change (`table.NAMES`), beside what each row of `table.BLOCKS` replaces
and what stands in for what is fetched (`table.STAND_INS`). With EDGESNN_TEST_BACKGROUND=FOLDER the documents'
own lines run, and every block of them must have its row.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

import edgesnn
from edgesnn.errors import UsageError
from tests.background.table import BLOCKS, BY_NAME, DISTILLATION, GUIDE, VARIABLE, blocks_of

torch = pytest.importorskip("torch", reason="needs the `train` extra")

pytestmark = [pytest.mark.torch, pytest.mark.slow]

TEST_DATA = ["The museum is behind you.", {"prompt": "Where is the park?", "response": "The park is left."}]


def small(config):
    """Sizes and epochs that a test has time for."""
    config.student_hidden_size, config.student_num_layers, config.timesteps = 32, 1, 2
    config.num_epochs, config.batch_size, config.max_length = 1, 32, 32
    config.vocab_size, config.embedding_rank, config.threads = 400, 16, 1
    config.output_dir = "artifacts/by_the_trainer"
    return config


@pytest.fixture(scope="module")
def own(documents):
    """The text of the documents."""
    if documents is None:
        pytest.skip(f"{VARIABLE} does not name the folder of the documents")
    return {name: (documents / name).read_text("utf-8") for name in (DISTILLATION, GUIDE)}


@pytest.mark.parametrize("document", [DISTILLATION, GUIDE])
def test_every_block_of_a_document_has_its_row(own, document):
    rows = [block.digest for block in BLOCKS if block.document == document]
    assert list(blocks_of(own[document])) == rows


def test_every_flag_of_the_documents_is_a_flag_here(own):
    from edgesnn.cli.main import build_command

    commands = [build_command(name).commands[name] for name in ("train", "export")]
    ours = {option for command in commands for one in command.params for option in one.opts}
    theirs = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", "".join(own.values())))
    assert len(theirs) > 20 and theirs <= ours


def test_the_architecture_is_that_of_the_drawing_and_of_its_size():
    config = edgesnn.create_default_config()
    config.vocab_size = 50_257
    trainer = edgesnn.SNNDistillationTrainer(config)
    model = trainer.initialize_student()
    assert len(model.blocks) == 4 and model.config.dim == 256 and model.config.num_heads == 4
    weights = sum(parameter.numel() for parameter in model.parameters())
    assert 4.5e6 < weights < 6e6, "about 5 M, and as many bytes in int8"


def test_a_configuration_is_made_saved_and_read(workspace):
    config = workspace.python("configuration")["config"]
    path = Path("config/snn_distillation.json")
    assert edgesnn.SNNDistillationConfig.load(path) == config == edgesnn.create_default_config()
    stored = json.loads(path.read_text())
    assert stored["timesteps"] == 10 and stored["target_power_mw"] == 100.0


def test_the_training_command_writes_weights_metadata_and_onnx(workspace):
    workspace.command("train")
    folder = Path("artifacts/snn_student")
    metadata = json.loads((folder / "metadata.json").read_text())
    assert metadata["training_config"]["teacher_model"] == "gpt2"
    assert (metadata["training_config"]["lr"], metadata["training_config"]["temperature"]) == (5e-4, 2.0)
    state = torch.load(folder / "student.pt", weights_only=True)
    assert sum(tensor.numel() for name, tensor in state.items() if "running" not in name) > 10_000
    ids = np.array([[3, 1, 4, 1, 5]])
    assert np.array_equal(onnx_logits(folder / "student.onnx", ids), golden_logits(folder, ids))


def onnx_logits(path, ids):
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    [taken], [given] = session.get_inputs(), session.get_outputs()
    assert (taken.name, given.name) == ("input_ids", "logits")
    assert [type(size) for size in taken.shape] == [str, str] and taken.type == "tensor(int64)"
    return session.run(None, {"input_ids": ids})[0]


def golden_logits(folder, ids):
    from edgesnn.program.golden import Golden

    _, _, compiled = edgesnn.compile_student(folder)
    return Golden(compiled.program).sequence(ids) * np.float32(compiled.program.logit_scale)


def test_the_trainer_really_trains_what_the_document_only_plans(workspace):
    space = workspace.python("trainer", small=small)
    results, trainer = space["results"], space["trainer"]
    assert results["status"] == "completed" and "completed" in space["printed"]
    assert Path(results["expected_output"]) == Path("artifacts/by_the_trainer/student.pt")
    assert Path(results["expected_output"]).is_file() and Path(results["onnx"]).is_file()
    assert results["config"] == trainer.config.to_dict()
    assert trainer.teacher_model.name == "gpt2"
    losses = trainer.training_metrics["loss"]
    assert len(losses) >= 1 and all(0 < loss < 20 for loss in losses)
    logits = trainer.student_model(torch.zeros(1, 3, dtype=torch.int64))
    assert logits.shape == (1, 3, 400) and bool(torch.isfinite(logits).all())


def test_the_layers_are_those_of_the_drawing():
    model = edgesnn.SNNDistillationTrainer().initialize_student()
    assert len(model.blocks) == 4
    model.record_spike_rates(True)
    model.eval()(torch.arange(8)[None])
    fired = model.spike_rates()
    assert {f"blocks.{index}.attn.out" for index in range(4)} <= set(fired) and "readout" in fired
    assert model.lif.neuron.decay == 230


def test_the_neuron_follows_its_formula():
    from edgesnn.student.config import SnnConfig
    from edgesnn.student.model.neurons import Lif

    lif = Lif(SnnConfig(num_timesteps=50, spike_threshold=1.0, decay_numerator=230))
    currents = torch.rand(50, 7, generator=torch.Generator().manual_seed(0))
    spikes = lif(currents)
    membrane = torch.zeros(7)
    for t in range(50):
        membrane = 230 / 256 * membrane + currents[t]
        fired = membrane >= 1.0
        assert torch.equal(spikes[t], fired.float())
        membrane = torch.where(fired, torch.zeros(7), membrane)
    assert 0 < float(spikes.mean()) < 1


def test_the_surrogate_is_the_printed_one_where_its_beta_is_given():
    from edgesnn.student.kernels.surrogates import make_surrogate_spec

    snn = edgesnn.SNNDistillationConfig(surrogate_beta=10.0).to_train_config().snn
    spec = make_surrogate_spec(snn.surrogate_type, snn.surrogate_slope, snn.surrogate_power)
    above = torch.linspace(-2, 2, 41)
    torch.testing.assert_close(spec.derivative(above.clone()), 1 / (1 + 10 * above.abs()))


def losses(alpha_ce, alpha_kd, *, turned=False):
    """Our loss of a batch, and what the document's formulas give for it."""
    from edgesnn.student.training.distil_loss import TeacherRows, distil_loss

    random = torch.Generator().manual_seed(0)
    student, teacher = (2 * torch.randn(30, 11, generator=random) for _ in range(2))
    targets, tau = torch.randint(0, 11, (30,), generator=random), 2.0
    q = torch.log_softmax(teacher / tau, 1)
    every = torch.arange(11).expand(30, 11)
    rows = TeacherRows(torch.arange(30), every, q, torch.full((30,), -60.0))  # all tokens, no tail
    ours, *_ = distil_loss(student[None], targets[None], rows, tau=tau, alpha_ce=alpha_ce, alpha_kd=alpha_kd)
    p = torch.log_softmax(student / tau, 1)
    l_ce = -torch.log_softmax(student, 1)[torch.arange(30), targets].mean()
    first, second = (p, q) if turned else (q, p)
    l_kd = tau**2 * (first.exp() * (first - second)).sum(1).mean()
    return float(ours), float(alpha_ce * l_ce + alpha_kd * l_kd)


@pytest.mark.parametrize(("ce", "kd"), [(1.0, 0.0), (0.0, 1.0), (0.5, 0.5)])
def test_the_losses_are_the_printed_ones_with_the_teacher_first(ce, kd):
    ours, formula = losses(ce, kd)
    assert ours == pytest.approx(formula, rel=1e-5)
    if kd:  # the document prints the arguments the other way round; ours is the usual direction, on purpose
        assert ours != pytest.approx(losses(ce, kd, turned=True)[1], rel=1e-2)


def test_the_profiler_measures_what_it_prints(workspace):
    space = workspace.python("profiler", test_data=TEST_DATA)
    latency, power, accuracy = space["latency"], space["power"], space["accuracy"]
    assert latency["kind"] == "MEASURED"
    assert 0 < latency["p50_ms"] <= latency["p95_ms"] <= latency["p99_ms"] <= latency["max_ms"]
    assert power["kind"] == "SIMULATED" and 0 < power["mean_mw"] <= power["peak_mw"]
    assert accuracy["documents"] == 2 and 0 <= accuracy["accuracy"] <= 1 and accuracy["perplexity"] > 1
    for figure in (f"{latency['mean_ms']:.1f}", f"{power['peak_mw']:.1f}", f"{accuracy['accuracy']:.2%}"):
        assert figure in space["printed"]
    profiler = space["profiler"]
    assert profiler.model_path == Path("artifacts/snn_student/student.pt")
    with pytest.raises(UsageError, match="needs a meter"):
        profiler.profile_power()
    profiler.close()


def test_what_is_scored_may_be_texts_a_file_or_token_ids(workspace):
    workspace.command("train")
    folder = Path("artifacts/snn_student")
    from edgesnn.text.tokenizer import load_tokenizer

    texts = ["The museum is behind you.", "The park is left."]
    Path("texts.txt").write_text("\n\n".join(texts))
    Path("records.jsonl").write_text("".join(json.dumps({"prompt": t, "response": t}) + "\n" for t in texts))
    tokenizer = load_tokenizer(folder / "tokenizer.json")
    ids = [[*tokenizer.encode_plain(text), tokenizer.token_id("<|endoftext|>")] for text in texts]
    with edgesnn.SNNHardwareProfiler(folder / "student.pt", profile="few.toml") as profiler:
        by = {
            "texts": profiler.profile_accuracy(test_data=texts),
            "path": profiler.profile_accuracy(test_data="texts.txt"),
            "ids": profiler.profile_accuracy(test_data=ids),
            "tensor": profiler.profile_accuracy(test_data=torch.tensor(ids[0])),
            "records": profiler.profile_accuracy(test_data=Path("records.jsonl")),
            "slice": profiler.profile_accuracy(test_data=folder / "eval.npz"),
        }
        for wrong in ("nowhere.txt", [[10**6, 1]], [[1]], [[0.5, 1.5]], [[[1, 2]]], []):
            with pytest.raises(edgesnn.EdgesnnError):
                profiler.profile_accuracy(test_data=wrong)
    figures = ("accuracy", "bits_per_byte", "own_perplexity", "tokens", "documents")
    for name in ("path", "ids"):
        assert [by[name][f] for f in figures] == [by["texts"][f] for f in figures]
    assert by["tensor"]["documents"] == 1 and by["records"]["documents"] == 2
    assert by["texts"]["perplexity"] == by["texts"]["own_perplexity"]
    assert by["texts"]["perplexity_per"] == "token of the student"
    assert by["slice"]["perplexity_per"] == "native token of the teacher"
    whole = edgesnn.read_student(folder).metadata["training_results"]["eval"]
    assert by["slice"]["tokens"] == whole["tokens"]


def test_an_agent_gets_its_answer_from_the_student(workspace):
    space = workspace.python("agent")
    asked = "Visual context: path/to/image.jpg\nUser query: What do you see?"
    with space["snn_backend"] as backend:
        assert space["result"]["response"] == backend.generate(asked, max_tokens=16)
        assert not backend.stub_mode and backend.vocab_size >= 400
    assert space["printed"] == space["result"]["response"] + "\n"


def test_the_data_sets_of_the_list_are_known_and_one_s_own_is_a_file(workspace):
    from edgesnn.student.text.datasets_hub import HUB_DATASETS
    from edgesnn.student.text.reading import load_documents

    *known, custom = workspace.python("data sets")["datasets"]
    assert set(known) == set(HUB_DATASETS)
    with pytest.raises(UsageError) as met:
        load_documents(custom, None)
    assert "--dataset-path" in met.value.remedy


def test_the_effective_batch_is_what_a_step_takes(workspace):
    config = edgesnn.create_default_config()
    names = {key: getattr(config, key) for key in ("batch_size", "gradient_accumulation_steps")}
    assert workspace.python("effective batch", **names)["effective_batch_size"] == 32
    made = config.to_train_config()
    assert made.batch_size * made.grad_accum_steps == 32


@pytest.mark.parametrize(
    ("name", "folder", "expected"),
    [
        ("quickstart", "snn_student_demo", {"teacher_model": "tiny-gpt2", "dataset": "synthetic"}),
        ("llama", "snn_student_llama", {"teacher_model": "Llama-3.2-3B", "scheduler": "cosine", "lr": 3e-4}),
        ("qwen", "snn_student_qwen", {"teacher_model": "Qwen2.5-3B", "scheduler": "linear"}),
    ],
)
def test_the_guide_s_commands_train(workspace, name, folder, expected):
    shown = workspace.command(name)
    assert "parameters" in shown and "held-out top-1" in shown
    metadata = json.loads(Path("artifacts", folder, "metadata.json").read_text())
    assert expected.items() <= metadata["training_config"].items()
    if name != "quickstart":
        surrogate = {"llama": "fast_sigmoid", "qwen": "arctan"}[name]
        assert metadata["snn_config"]["surrogate_type"] == surrogate
        assert metadata["snn_config"]["num_timesteps"] == 8
        assert metadata["training_config"]["dataset"] == "wikitext-2"
    log = Path("artifacts", folder, "train_log.jsonl").read_text().splitlines()
    assert metadata["training_results"]["steps"] > 0 and len(log) > 0


def test_the_files_of_the_guide_are_written(workspace):
    workspace.command("llama")
    assert {"metadata.json", "student.pt"} <= {p.name for p in Path("artifacts/snn_student_llama").iterdir()}


#: Keys of the guide's metadata by section; values are of the run.
METADATA = {
    "": ["model_type", "architecture_version", "vocab_size", "student_params", "config"],
    "architecture": ["dim", "depth", "num_heads"],
    "snn_config": ["num_timesteps", "surrogate_type", "spike_threshold"],
    "training_config": [
        "num_steps", "batch_size", "grad_accum_steps", "teacher_model", "lr", "scheduler", "warmup_steps",
        "temperature", "dataset", "max_length",
    ],
    "training_results": ["steps", "avg_loss"],
    "metadata": ["timestamp", "git_commit"],
}  # fmt: skip


def test_metadata_has_every_key_of_the_guide(workspace, documents):
    workspace.command("llama")
    found = json.loads(Path("artifacts/snn_student_llama/metadata.json").read_text())
    for section, keys in METADATA.items():
        part = found[section] if section else found
        assert set(keys) <= set(part), section
    assert found["snn_config"]["spike_threshold"] == 0.5
    if documents is not None:
        block = BY_NAME["metadata"]
        theirs = json.loads(blocks_of((documents / block.document).read_text("utf-8"))[block.digest])
        for section, value in theirs.items():
            assert section in found
            assert not isinstance(value, dict) or set(value) <= set(found[section])


def test_the_backend_of_the_guide_runs_the_student_and_no_stub(workspace):
    space = workspace.python("backend")
    with space["backend"] as backend:
        text = backend.generate("Hello from the glasses", max_tokens=24)
        assert space["printed"] == text + "\n" and not backend.stub_mode
        assert backend.model_type == "SpikingTransformerLM"
        assert backend.training_config["teacher_model"] == "Llama-3.2-3B"
        ids = backend.tokenizer.encode_plain("Hello from the glasses")
        assert len(backend.generate_tokens(ids, max_tokens=24)) <= 24


def test_the_exporter_of_the_guide_writes_the_file_that_golden_agrees_with(workspace):
    workspace.command("llama")
    path = Path("artifacts/snn_student_llama/student.onnx")
    path.unlink(missing_ok=True)
    workspace.command("export")
    for ids in (np.array([[3, 1, 4, 1, 5]]), np.arange(24).reshape(2, 12)):
        assert np.array_equal(onnx_logits(path, ids), golden_logits(path.parent, ids))
