"""Students of version 1.0: both dialects of metadata, and what is refused before anything is exported."""

import json

import numpy as np
import pytest

from edgesnn.errors import ArtifactError, CompileError
from edgesnn.program.artifact import StudentArtifact
from edgesnn.program.v1_student import read_v1
from edgesnn.v1_rule import OBSTACLES, is_v1, refuse_v1, why_no_program

V, D = 20, 8


def tensors(vocab=V, dim=D, depth=2, hidden=16):
    rng = np.random.default_rng(0)
    shapes = {"embed.weight": (vocab, dim), "head.weight": (vocab, dim), "head.bias": (vocab,)}
    for i in range(depth):
        shapes |= {
            f"blocks.{i}.attn.attn.in_proj_weight": (3 * dim, dim),
            f"blocks.{i}.attn.attn.in_proj_bias": (3 * dim,),
            f"blocks.{i}.attn.attn.out_proj.weight": (dim, dim),
            f"blocks.{i}.attn.attn.out_proj.bias": (dim,),
            f"blocks.{i}.attn.norm.weight": (dim,),
            f"blocks.{i}.attn.norm.bias": (dim,),
            f"blocks.{i}.ff.0.weight": (hidden, dim),
            f"blocks.{i}.ff.0.bias": (hidden,),
            f"blocks.{i}.ff.3.weight": (dim, hidden),
            f"blocks.{i}.ff.3.bias": (dim,),
            f"blocks.{i}.norm.weight": (dim,),
            f"blocks.{i}.norm.bias": (dim,),
        }
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def newer(**changes):
    found = {
        "model_type": "SpikingStudentLM",
        "architecture_version": "v1.0",
        "vocab_size": V,
        "architecture": {"dim": D, "depth": 2, "num_heads": 2},
        "snn_config": {"num_timesteps": 4, "surrogate_type": "sigmoid", "spike_threshold": 0.5},
        "training_config": {"teacher_model": "gpt2", "max_length": 32},
        "training_results": {"steps": 3, "avg_loss": 2.0},
    }
    return {key: value for key, value in {**found, **changes}.items() if value is not ...}


OLDER = {"config": {"teacher_model": "gpt2", "max_length": 48}, "steps": 3, "avg_loss": 2.0}


def student(tmp_path, metadata, state=None):
    return read_v1(StudentArtifact(tmp_path / "old", metadata, tensors() if state is None else state))


def test_the_newer_dialect_is_read(tmp_path):
    found = student(tmp_path, newer())
    sizes = (found.vocab_size, found.dim, found.depth, found.heads, found.hidden)
    assert sizes == (V, D, 2, 2, 16)
    assert (found.threshold, found.max_length, found.teacher, found.assumed) == (0.5, 32, "gpt2", ())


def test_the_older_dialect_is_read_and_what_it_does_not_say_is_named(tmp_path):
    found = student(tmp_path, OLDER)
    assert (found.depth, found.heads, found.threshold, found.max_length) == (2, 4, 1.0, 48)
    assert found.assumed == ("num_heads 4", "spike_threshold 1.0")
    assert found.facts["training_results"] == {"steps": 3, "avg_loss": 2.0}
    json.dumps(found.facts, allow_nan=False)


def test_facts_of_a_manifest_are_a_dialect_that_can_be_read_again(tmp_path):
    for metadata in (newer(), OLDER):
        once = student(tmp_path, metadata)
        again = student(tmp_path, once.facts)
        assert (again.heads, again.threshold, again.depth) == (once.heads, once.threshold, once.depth)


def test_facts_hold_no_path_of_the_machine_that_trained_and_only_numbers_that_json_has(tmp_path):
    config = {"output_dir": "/home/someone/out", "dataset_path": "C:\\texts\\mine.txt", "max_length": 8}
    found = student(tmp_path, {"config": config, "steps": 3, "avg_loss": float("nan")}).facts
    assert found["training_config"] == {"output_dir": "out", "dataset_path": "mine.txt", "max_length": 8}
    assert found["training_results"] == {"steps": 3, "avg_loss": None}


@pytest.mark.parametrize(
    ("architecture", "named"),
    [
        ({"dim": 16, "depth": 2, "num_heads": 2}, "architecture.dim 16"),
        ({"dim": D, "depth": 3, "num_heads": 2}, "architecture.depth 3"),
        ({"dim": 4, "depth": 1, "num_heads": 2}, "architecture.dim 4, architecture.depth 1"),
        ({"dim": "8", "depth": 2, "num_heads": 2}, "architecture.dim '8'"),
    ],
)
def test_metadata_of_another_student_is_one_error_that_names_all_of_it(tmp_path, architecture, named):
    with pytest.raises(ArtifactError, match="describes another student") as met:
        student(tmp_path, newer(architecture=architecture))
    assert met.value.actual == named
    assert "as the tensors have it" in met.value.limit and met.value.remedy


def test_a_vocabulary_that_is_not_that_of_the_embedding_is_refused(tmp_path):
    with pytest.raises(ArtifactError, match="describes another student") as met:
        student(tmp_path, newer(vocab_size=50257))
    assert (met.value.actual, met.value.limit[:13]) == ("vocab_size 50257", "vocab_size 20")


@pytest.mark.parametrize("heads", [0, 3, -2, True, "2", 2.0])
def test_heads_that_do_not_divide_the_width_are_refused(tmp_path, heads):
    with pytest.raises(ArtifactError, match=r"num_heads.*divisor of the width 8"):
        student(tmp_path, newer(architecture={"dim": D, "depth": 2, "num_heads": heads}))


@pytest.mark.parametrize("value", ["high", float("nan"), float("inf"), True, [1.0]])
def test_a_threshold_that_is_no_number_is_refused(tmp_path, value):
    with pytest.raises(ArtifactError, match="spike_threshold"):
        student(tmp_path, newer(snn_config={"spike_threshold": value}))


@pytest.mark.parametrize(
    "name",
    [
        "embed.weight",
        "head.bias",
        "blocks.0.ff.0.weight",
        "blocks.0.attn.attn.in_proj_bias",
        "blocks.1.norm.weight",
    ],
)
def test_a_missing_tensor_is_named(tmp_path, name):
    state = tensors()
    del state[name]
    with pytest.raises(ArtifactError, match=f"lacks the tensor '{name}'"):
        student(tmp_path, newer(), state)


def test_a_tensor_of_the_wrong_shape_is_named_with_both_shapes(tmp_path):
    state = {**tensors(), "blocks.1.ff.3.weight": np.zeros((D, 15), np.float32)}
    with pytest.raises(ArtifactError, match=r"blocks.1.ff.3.weight.*\[8, 15\].*\[8, 16\]"):
        student(tmp_path, newer(), state)
    with pytest.raises(ArtifactError, match="no matrix"):
        student(tmp_path, newer(), {**tensors(), "embed.weight": np.zeros(4, np.float32)})


def test_a_tensor_that_the_layout_does_not_know_is_refused(tmp_path):
    with pytest.raises(ArtifactError, match=r"does not know.*pos.weight"):
        student(tmp_path, newer(), {**tensors(), "pos.weight": np.zeros((4, D), np.float32)})


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_number_that_is_none_is_refused_by_tensor(tmp_path, value):
    state = tensors()
    state["blocks.1.attn.norm.bias"][3] = value
    with pytest.raises(ArtifactError, match=r"blocks.1.attn.norm.bias.*NaN or infinity"):
        student(tmp_path, newer(), state)


def test_no_blocks_at_all_are_refused(tmp_path):
    with pytest.raises(ArtifactError, match="no blocks"):
        student(tmp_path, newer(), tensors(depth=0))


def test_the_rule_knows_both_dialects_and_no_other_student():
    assert is_v1(newer()) and is_v1(OLDER)
    assert not is_v1({**OLDER, "model_type": "SpikingTransformerLM"})
    assert not is_v1({**OLDER, "architecture": {"name": "spiking_transformer"}})
    assert not is_v1({"config": {}, "steps": 3})
    assert why_no_program({"model_type": "SpikingTransformerLM"}) is None


def test_the_rule_names_every_operation_that_stands_in_the_way():
    with pytest.raises(CompileError) as met:
        refuse_v1(OLDER, "old")
    assert all(obstacle in met.value.what for obstacle in OBSTACLES)
    assert "edgesnn upgrade" in met.value.remedy


@pytest.mark.parametrize("version", ["v2.0", 1, [], "1.0"])
def test_another_version_of_it_is_refused(version):
    with pytest.raises(ArtifactError, match=r"unknown version.*v1\.x"):
        refuse_v1(newer(architecture_version=version), "old")
