"""Folding: thresholds, biases and rows that say what the norms said."""

import numpy as np
import pytest

from edgesnn.program.artifact import StudentArtifact, read_artifact
from edgesnn.program.float_program import FloatLIF, FloatLinear, float_logits, run_float
from edgesnn.program.fold import fold
from edgesnn.program.ops import Attend, Shift
from tests.support.artifacts import change_metadata, random_tensors, tiny_metadata

EPS = 1e-5


def unfolded(tensors, metadata, ids):
    """The student's equations in float64 with every norm in its place; values by the fold's names.

    Written from docs/student.md. Gives the margin to the threshold at each neuron, so that ties can be told.
    """
    sizes, snn = metadata["architecture"], metadata["snn_config"]
    d, heads, T = sizes["dim"], sizes["num_heads"], snn["num_timesteps"]
    w = {name: tensor.astype(np.float64) for name, tensor in tensors.items()}
    beta, theta = snn["decay_numerator"] / 256, snn["spike_threshold"]
    spikes, margins = {}, {}

    def norm(name, y):
        scaled = (y - w[f"{name}.running_mean"]) / np.sqrt(w[f"{name}.running_var"] + EPS)
        return scaled * w[f"{name}.weight"] + w[f"{name}.bias"]

    def lif(name, current):
        v, out, margin = 0.0, [], []
        for t in range(T):
            v = beta * v + current[t]
            margin.append(np.abs(v - theta))
            out.append(v >= theta)
            v = np.where(out[-1], 0.0, v)
        spikes[name], margins[name] = np.array(out, np.float64), np.array(margin)
        return spikes[name]

    def shift(s):
        n = sizes["shift_channels"]
        moved = np.concatenate([np.zeros_like(s[:, :1, :n]), s[:, :-1, :n]], axis=1)
        return np.concatenate([moved, s[..., n:]], axis=-1)

    def attend(qkv):
        length, dh = qkv.shape[1], d // heads
        out = np.zeros((T, length, d))
        for h, window in enumerate(sizes["windows"]):
            q, k, v = (qkv[..., p * d + h * dh : p * d + (h + 1) * dh] for p in range(3))
            for i in range(length):
                for j in range(max(0, i - window + 1), i + 1):
                    score = (q[:, i] * k[:, j]).sum(axis=-1, keepdims=True)
                    out[:, i, h * dh : (h + 1) * dh] += score * v[:, j]
        return out

    x = np.repeat((w["embed.weight"][ids] @ w["embed.project.weight"].T)[None], T, axis=0)
    for i in range(sizes["depth"]):
        a, m = f"blocks.{i}.attn", f"blocks.{i}.mlp"
        s = shift(lif(f"{a}.lif_in", norm(f"{a}.norm_in", x)))
        qkv = lif(f"{a}.lif_qkv", norm(f"{a}.norm_qkv", s @ w[f"{a}.qkv.weight"].T))
        s = lif(f"{a}.lif_out", norm(f"{a}.norm_out", attend(qkv)))
        x = x + norm(f"{a}.norm_res", s @ w[f"{a}.out.weight"].T)
        s = shift(lif(f"{m}.lif_in", norm(f"{m}.norm_in", x)))
        s = lif(f"{m}.lif_up", norm(f"{m}.norm_up", s @ w[f"{m}.up.weight"].T))
        x = x + norm(f"{m}.norm_res", s @ w[f"{m}.down.weight"].T)
    count = lif("readout.lif", norm("readout.norm", x)).sum(axis=0)
    z = count @ w["readout.weight"].T + w["readout.bias"]
    return spikes, margins, z @ w["embed.weight"].T


def folded_values(folded, ids):
    """Every spike value and the logits of the folded student, computed in float64."""
    from dataclasses import fields, replace

    wide = []
    for op in folded.ops:
        arrays = {
            f.name: getattr(op, f.name).astype(np.float64)
            for f in fields(op)
            if getattr(getattr(op, f.name), "dtype", None) == np.float32
        }
        wide.append(replace(op, **arrays))
    _, rates = run_float(replace(folded, ops=tuple(wide)), ids[None])
    return rates, float_logits(replace(folded, ops=tuple(wide)), ids[None])[0]


@pytest.mark.parametrize("seed", range(5))
def test_the_folded_student_equals_the_equations_with_norms_in_place(seed):
    """Spike rates of every layer and the logits, wherever no membrane is a near-tie."""
    metadata = tiny_metadata(40)
    tensors = random_tensors(metadata, seed)
    from pathlib import Path

    folded = fold(StudentArtifact(Path("student"), metadata, tensors))
    ids = np.random.default_rng(seed).integers(0, 40, 12)
    spikes, margins, logits = unfolded(tensors, metadata, ids)
    rates, got = folded_values(folded, ids)
    assert min(margin.min() for margin in margins.values()) > 1e-6, "a near-tie: choose another seed"
    for name, values in spikes.items():
        np.testing.assert_array_equal(np.rint(rates[name] * 36), values.sum(axis=(0, 1)), err_msg=name)
    np.testing.assert_allclose(got, logits, rtol=1e-5, atol=1e-5)


def test_a_gain_divides_into_threshold_and_bias(artifact):
    read = read_artifact(artifact)
    folded = fold(read)
    op = next(op for op in folded.ops if op.name == "blocks.0.attn.lif_qkv")
    norm = {p: read.tensors[f"blocks.0.attn.norm_qkv.{p}"].astype(np.float64) for p in PARTS}
    gain = norm["weight"] / np.sqrt(norm["running_var"] + EPS)
    np.testing.assert_allclose(op.threshold, 1.0 / gain, rtol=1e-6)
    np.testing.assert_allclose(op.bias, norm["bias"] / gain - norm["running_mean"], rtol=1e-5, atol=1e-6)


PARTS = ("weight", "bias", "running_mean", "running_var")


def test_a_norm_behind_a_branch_scales_rows_and_its_offset_waits_for_every_later_reader(artifact):
    read = read_artifact(artifact)
    folded = fold(read)
    ops = {op.name: op for op in folded.ops}
    offset = np.zeros(16)
    for branch, weight, reader in (
        ("blocks.0.attn", "out", "blocks.0.mlp"),
        ("blocks.0.mlp", "down", "blocks.1.attn"),
        ("blocks.1.attn", "out", "blocks.1.mlp"),
        ("blocks.1.mlp", "down", "readout"),
    ):
        norm = {p: read.tensors[f"{branch}.norm_res.{p}"].astype(np.float64) for p in PARTS}
        gain = norm["weight"] / np.sqrt(norm["running_var"] + EPS)
        rows = read.tensors[f"{branch}.{weight}.weight"] * gain[:, None]
        np.testing.assert_allclose(ops[f"{branch}.{weight}"].weight, rows.T, rtol=1e-6)
        offset += norm["bias"] - gain * norm["running_mean"]
        norm_in = "readout.norm" if reader == "readout" else f"{reader}.norm_in"
        norm = {p: read.tensors[f"{norm_in}.{p}"].astype(np.float64) for p in PARTS}
        gain = norm["weight"] / np.sqrt(norm["running_var"] + EPS)
        lif = ops["readout.lif" if reader == "readout" else f"{reader}.lif_in"]
        np.testing.assert_allclose(
            lif.bias, norm["bias"] / gain - norm["running_mean"] + offset, rtol=1e-5, atol=1e-5
        )


def test_the_list_of_ops_is_the_architecture(artifact):
    folded = fold(read_artifact(artifact))
    kinds = [type(op).__name__.removeprefix("Float") for op in folded.ops]
    block = ["LIF", "Shift", "Linear", "LIF", "Attend", "LIF", "Linear", "Add"]
    block += ["LIF", "Shift", "Linear", "LIF", "Linear", "Add"]
    assert kinds == ["Embed", *block, *block, "LIF", "Count", "Readout"]
    attends = [op for op in folded.ops if isinstance(op, Attend)]
    assert [(op.head_dim, op.windows) for op in attends] == [(8, (1, 6))] * 2
    assert {tuple(op.channels) for op in folded.ops if isinstance(op, Shift)} == {tuple(range(8))}
    assert all(op.decay == 230 for op in folded.ops if isinstance(op, FloatLIF))
    assert folded.timesteps == 3
    assert all(op.weight.flags.c_contiguous for op in folded.ops if isinstance(op, FloatLinear))


def test_a_student_without_shift_has_no_shift_op(artifact):
    change_metadata(artifact, "architecture", shift_channels=0)
    assert not any(isinstance(op, Shift) for op in fold(read_artifact(artifact)).ops)


@pytest.mark.torch
@pytest.mark.parametrize("seed", range(3))
def test_the_folded_student_equals_the_torch_model(seed, artifact):
    """Same random weights and statistics in edgesnn.student: logits equal, and spike rates by layer."""
    torch = pytest.importorskip("torch")
    from edgesnn.student import load_student
    from tests.support.artifacts import write_artifact

    torch.set_num_threads(1)
    write_artifact(artifact, seed)
    model, metadata = load_student(artifact)
    model.record_spike_rates(True)
    folded = fold(read_artifact(artifact))
    ids = np.random.default_rng(seed).integers(0, metadata["vocab_size"], 14)
    tensors = read_artifact(artifact).tensors
    _, margins, _ = unfolded(tensors, metadata, ids)
    assert min(margin.min() for margin in margins.values()) > 1e-6, "a near-tie: choose another seed"
    with torch.no_grad():
        wanted = model(torch.from_numpy(ids)[None])[0].numpy()
    rates, got = folded_values(folded, ids)
    np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-4)
    for name, rate in model.spike_rates().items():
        layer = "readout.lif" if name == "readout" else ".lif_".join(name.rsplit(".", 1))
        assert rate == pytest.approx(rates[layer].mean(), abs=1e-6), name


@pytest.mark.torch
def test_a_student_that_holds_student_pt_alone_folds_to_the_same_program(artifact):
    torch = pytest.importorskip("torch")
    from edgesnn import compile_student
    from edgesnn.program.snn_format import program_hash

    before = program_hash(compile_student(artifact)[2].program)
    tensors = {name: torch.from_numpy(a) for name, a in read_artifact(artifact).tensors.items()}
    torch.save(tensors, artifact / "student.pt")
    (artifact / "student.safetensors").unlink()
    assert program_hash(compile_student(artifact)[2].program) == before


class Payload:
    def __reduce__(self):
        return (print, ("this must never run",))


@pytest.mark.torch
def test_a_pickle_in_student_pt_is_refused_and_not_run(artifact, capsys):
    torch = pytest.importorskip("torch")
    from edgesnn import compile_student
    from edgesnn.errors import ArtifactError

    (artifact / "student.safetensors").unlink()
    torch.save({"embed.weight": Payload()}, artifact / "student.pt")
    with pytest.raises(ArtifactError, match="refused"):
        compile_student(artifact)
    assert "never run" not in capsys.readouterr().out


def test_a_v1_student_without_safetensors_is_refused_by_its_operations_too(artifact):
    from edgesnn import compile_student
    from edgesnn.errors import CompileError

    change_metadata(artifact, model_type="SpikingStudentLM", architecture_version="v1.0")
    (artifact / "student.safetensors").rename(artifact / "student.pt")
    with pytest.raises(CompileError, match="GELU"):
        compile_student(artifact)
