"""A Hugging Face model as a reference: cached steps give the logits of whole sequences."""

import numpy as np
import pytest

from edgesnn.errors import UserError

pytestmark = pytest.mark.torch
IDS = [5, 9, 30, 7, 12, 4, 8]


@pytest.fixture(scope="module")
def model(teacher_folder):
    from edgesnn.student.teacher.causal import HuggingFaceModel

    return HuggingFaceModel(str(teacher_folder), threads=1)


def test_a_step_with_a_cache_runs_the_same_model_as_a_whole_sequence(model):
    import torch

    whole = model.logits(IDS)
    model.begin(IDS[:4])
    for token in IDS[4:]:
        model.step(token)
    with torch.no_grad():
        after = model._model(
            input_ids=torch.tensor([[IDS[0]]]), past_key_values=model._past, use_cache=True
        ).logits[0, -1]
    np.testing.assert_allclose(after.float().numpy(), model.logits([*IDS, IDS[0]])[-1], atol=0.05)
    assert whole.shape == (len(IDS), model.vocab_size) and whole.dtype == np.float32


def test_its_size_is_that_of_its_weight_files_and_its_parameters_are_counted(model, teacher_folder):
    assert model.model_bytes == (teacher_folder / "model.safetensors").stat().st_size
    assert model.model_bytes == pytest.approx(4 * model.parameters, rel=0.15)
    assert model.cached


def test_a_model_that_is_not_there_is_no_reference():
    from edgesnn.student.teacher.causal import HuggingFaceModel

    with pytest.raises(UserError, match="no reference at"):
        HuggingFaceModel("./nowhere", threads=1)
