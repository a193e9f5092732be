"""Reading a student artifact without torch: everything that can be wrong with one is a clear error."""

import json
import struct

import numpy as np
import pytest

from edgesnn.errors import ArtifactError, CompileError
from edgesnn.program.artifact import read_artifact
from edgesnn.program.fold import fold
from tests.support.artifacts import change_metadata, change_tensors, random_tensors, tiny_metadata


def refused(folder, message, error=ArtifactError):
    with pytest.raises(error, match=message):
        fold(read_artifact(folder))


def test_a_whole_artifact_is_read_as_float32(artifact):
    read = read_artifact(artifact)
    wanted = random_tensors(tiny_metadata(read.metadata["vocab_size"]))
    assert read.tensors.keys() == wanted.keys()
    for name, tensor in read.tensors.items():
        assert tensor.dtype == np.float32
        np.testing.assert_array_equal(tensor, wanted[name])


def test_float16_and_bfloat16_are_read_exactly(artifact):
    half = np.array([1.5, -2.25, 2**-14, 65504.0] * 2, np.float16)
    change_tensors(artifact, readout__bias=half)
    np.testing.assert_array_equal(read_artifact(artifact).tensors["readout.bias"], half.astype(np.float32))
    values = np.array([1.5, -2.25, 3.0e38, -1.0e-38], np.float32)
    upper = (values.view(np.uint32) >> 16).astype(np.uint16)
    write_safetensors(artifact / "student.safetensors", "x", "BF16", upper.tobytes(), [2, 2])
    read = read_artifact(artifact).tensors["x"]
    np.testing.assert_array_equal(read.ravel(), (upper.astype(np.uint32) << 16).view(np.float32))
    assert read.shape == (2, 2)


def write_safetensors(path, name, dtype, data, shape):
    header = json.dumps({name: {"dtype": dtype, "shape": shape, "data_offsets": [0, len(data)]}}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + data)


def test_missing_files_are_named(artifact, tmp_path):
    refused(tmp_path / "nowhere", "does not exist")
    refused(tmp_path, "no metadata.json")
    (artifact / "student.safetensors").unlink()
    refused(artifact, "has no student.safetensors")


def test_truncated_weights_are_an_error_at_every_length(artifact):
    path = artifact / "student.safetensors"
    whole = path.read_bytes()
    for size in (0, 1, 7, 8, 9, 100, 1000, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        refused(artifact, "damaged or truncated")
    path.write_bytes(whole + b"\0")
    refused(artifact, "damaged or truncated")


def test_a_header_that_lies_about_its_size_is_an_error(artifact):
    path = artifact / "student.safetensors"
    whole = path.read_bytes()
    for size in (0, 2**31, 2**63, 2**64 - 1):
        path.write_bytes(struct.pack("<Q", size) + whole[8:])
        refused(artifact, "damaged or truncated")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_no_number_names_its_tensor(artifact, value):
    change_tensors(artifact, readout__bias=np.array([0] * 7 + [value], np.float32))
    refused(artifact, "'readout.bias'.*holds NaN or infinity")


@pytest.mark.parametrize("dtype", [np.int64, np.int16, np.float64, np.uint8, bool])
def test_a_tensor_of_another_dtype_is_named(artifact, dtype):
    change_tensors(artifact, readout__bias=np.zeros(8, dtype))
    refused(artifact, "'readout.bias'.*wrong dtype")


def test_missing_additional_and_misshapen_tensors_are_named(artifact):
    change_tensors(artifact, readout__bias=None)
    refused(artifact, "lacks the tensor 'readout.bias'")
    change_tensors(artifact, readout__bias=np.zeros(9, np.float32))
    refused(artifact, r"'readout.bias'.*wrong shape; actual: \[9\]; limit: \[8\]")
    change_tensors(artifact, readout__bias=np.zeros(8, np.float32), head__weight=np.zeros(2, np.float32))
    refused(artifact, "does not know; actual: head.weight")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is not JSON"),
        (b"{", "is not JSON"),
        (b"\xff\xfe", "is not JSON"),
        (b"[" * 100_000, "is not JSON"),
        (b"[]", "holds no JSON object"),
        (b'"text"', "holds no JSON object"),
    ],
)
def test_metadata_that_is_no_json_object_is_an_error(artifact, content, message):
    (artifact / "metadata.json").write_bytes(content)
    refused(artifact, message)


def test_metadata_of_absurd_size_is_not_parsed(artifact, monkeypatch):
    monkeypatch.setattr("edgesnn.program.artifact._METADATA_MAX_BYTES", 100)
    refused(artifact, "metadata.json' is too large")


BAD_SIZES = [
    ("dim", 0),
    ("dim", 16.0),
    ("dim", "16"),
    ("dim", True),
    ("dim", None),
    ("dim", ...),
    ("dim", 2**20 + 1),
    ("depth", 0),
    ("depth", 1025),
    ("num_heads", 0),
    ("num_heads", 3),
    ("mlp_dim", -1),
    ("rank", []),
    ("shift_channels", -1),
    ("shift_channels", 17),
    ("windows", [1]),
    ("windows", [1, 6, 6]),
    ("windows", "1,6"),
    ("windows", [1, 0]),
    ("windows", [1, 2.0]),
    ("windows", [1, True]),
    ("windows", [1, 2**17]),
    ("norm_eps", 0),
    ("norm_eps", "1e-5"),
    ("norm_eps", True),
    ("norm_eps", float("nan")),
    ("norm_eps", float("inf")),
    ("norm_eps", 10**400),
]


@pytest.mark.parametrize(("key", "value"), BAD_SIZES)
def test_unusable_sizes_are_errors(artifact, key, value):
    change_metadata(artifact, "architecture", **{key: value})
    refused(artifact, "unusable|multiple")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("num_timesteps", 0),
        ("num_timesteps", 128),
        ("num_timesteps", "4"),
        ("decay_numerator", 0),
        ("decay_numerator", 257),
        ("decay_numerator", 230.0),
        ("spike_threshold", 0),
        ("spike_threshold", -1.0),
        ("spike_threshold", 1e39),
        ("spike_threshold", None),
    ],
)
def test_unusable_neuron_settings_are_errors(artifact, key, value):
    change_metadata(artifact, "snn_config", **{key: value})
    refused(artifact, f"'snn_config.{key}'.*unusable")


@pytest.mark.parametrize("value", [..., None, 1, "280", 280.0, True, -280])
def test_an_unusable_vocabulary_size_is_an_error(artifact, value):
    change_metadata(artifact, vocab_size=value)
    refused(artifact, "'vocab_size'.*unusable")


@pytest.mark.parametrize("section", ["snn_config"])
@pytest.mark.parametrize("value", [..., None, [], "text"])
def test_a_section_that_is_missing_or_no_object_is_an_error(artifact, section, value):
    change_metadata(artifact, **{section: value})
    refused(artifact, f"no section '{section}'")


def test_a_vocabulary_size_that_the_weights_do_not_have_is_a_wrong_shape(artifact):
    change_metadata(artifact, vocab_size=10**12)
    refused(artifact, "'embed.weight'.*wrong shape")


# Which students have an integer program -------------------------------------------------------------------


def test_a_v1_student_is_refused_and_the_operations_in_the_way_are_named(artifact):
    change_metadata(artifact, model_type="SpikingStudentLM", architecture_version="v1.0")
    for operation in ("LayerNorm", "softmax", "causal mask", "GELU", "float head"):
        refused(artifact, operation, CompileError)


@pytest.mark.parametrize("value", [..., None, 7, [], {}, "Other"])
def test_an_unknown_model_type_is_refused(artifact, value):
    change_metadata(artifact, model_type=value)
    refused(artifact, "unknown architecture", CompileError)


@pytest.mark.parametrize("value", [..., None, 7, [], {}, "rwkv"])
def test_an_unknown_architecture_is_refused_with_those_that_are_known(artifact, value):
    change_metadata(artifact, "architecture", name=value)
    refused(artifact, "unknown architecture.*spiking_transformer", CompileError)


@pytest.mark.parametrize("value", [..., None, [], "text"])
def test_an_architecture_that_is_no_object_is_refused(artifact, value):
    change_metadata(artifact, architecture=value)
    refused(artifact, "unknown architecture", CompileError)


@pytest.mark.parametrize("value", [..., None, 2, "v1.0", "v3.0", "2.0"])
def test_another_version_of_the_architecture_is_refused(artifact, value):
    change_metadata(artifact, architecture_version=value)
    refused(artifact, "architecture_version", CompileError)


# Norms that do not fold -----------------------------------------------------------------------------------


@pytest.mark.parametrize("gain", [0.0, -0.05])
@pytest.mark.parametrize("norm", ["blocks.0.attn.norm_in", "blocks.1.mlp.norm_up", "readout.norm"])
def test_a_gain_before_a_neuron_that_is_not_positive_is_refused_by_name(artifact, norm, gain):
    weight = read_artifact(artifact).tensors[f"{norm}.weight"].copy()
    weight[-1] = gain
    change_tensors(artifact, **{f"{norm}.weight": weight})
    refused(artifact, f"'{norm}.weight'.*must be positive", CompileError)


def test_a_gain_of_zero_or_less_behind_a_branch_is_no_obstacle(artifact):
    weight = np.linspace(-1, 1, 16, dtype=np.float32)
    weight[3] = 0
    change_tensors(artifact, blocks__0__attn__norm_res__weight=weight)
    fold(read_artifact(artifact))


def test_a_negative_variance_is_refused_by_name(artifact):
    variance = np.ones(16, np.float32)
    variance[2] = -1e-3
    change_tensors(artifact, readout__norm__running_var=variance)
    refused(artifact, "'readout.norm.running_var'.*is negative")


def test_a_norm_that_folds_beyond_float32_is_refused_by_name(artifact):
    change_tensors(artifact, readout__norm__weight=np.full(16, 1e-38, np.float32))
    change_tensors(artifact, readout__norm__running_var=np.full(16, 1e30, np.float32))
    refused(artifact, "folded threshold of 'readout.lif'.*float32", CompileError)


def test_a_weight_that_folds_beyond_float32_is_refused_by_name(artifact):
    change_tensors(artifact, blocks__0__attn__out__weight=np.full((16, 16), 3e38, np.float32))
    change_tensors(artifact, blocks__0__attn__norm_res__weight=np.full(16, 100, np.float32))
    refused(artifact, "folded weight of 'blocks.0.attn.out'.*float32", CompileError)
