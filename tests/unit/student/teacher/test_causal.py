"""A Hugging Face model as a reference: cached steps give the logits of whole sequences."""

import numpy as np
import pytest

from edgesnn.errors import UserError

from .conftest import CHATML

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
        after = model._model(input_ids=torch.tensor([[IDS[0]]]), use_cache=True, **model._past).logits[0, -1]
    np.testing.assert_allclose(after.float().numpy(), model.logits([*IDS, IDS[0]])[-1], atol=0.05)
    assert whole.shape == (len(IDS), model.vocab_size) and whole.dtype == np.float32


def test_its_size_is_that_of_its_weight_files_and_its_parameters_are_counted(model, teacher_folder):
    assert model.model_bytes == (teacher_folder / "model.safetensors").stat().st_size
    assert model.model_bytes == pytest.approx(4 * model.parameters, rel=0.15)
    assert model.cached


STATES = {
    "MambaForCausalLM": ({"state_size": 8}, True),
    "Mamba2ForCausalLM": (
        {"state_size": 8, "num_heads": 8, "head_dim": 8, "n_groups": 2, "chunk_size": 16},
        True,
    ),
    "RwkvForCausalLM": ({"attention_hidden_size": 32}, True),
    "RecurrentGemmaForCausalLM": ({"num_hidden_layers": 3, "lru_width": 32, "num_key_value_heads": 1}, False),
    "BartForCausalLM": (
        {
            "d_model": 32,
            "decoder_layers": 2,
            "num_hidden_layers": 1,
            "decoder_attention_heads": 4,
            "decoder_ffn_dim": 64,
        },
        False,
    ),
}


@pytest.mark.parametrize("kind", STATES)
def test_a_recurrent_reference_keeps_its_state_or_says_that_it_reads_again(save_model, tmp_path, kind):
    from edgesnn.student.teacher.causal import HuggingFaceModel

    options, cached = STATES[kind]
    model = HuggingFaceModel(str(save_model(tmp_path / "model", kind, **options)), threads=1)
    assert model.cached == cached
    model.begin(IDS[:3])
    for token in IDS[3:-1]:
        model.step(token)
    last = model._run(IDS[-1:] if cached else IDS).numpy()
    np.testing.assert_allclose(last, model.logits(IDS)[-1], atol=0.1 * np.abs(last).max())


@pytest.mark.parametrize("kind", STATES)
def test_a_recurrent_teacher_with_a_system_text_runs_its_segments_whole(
    save_model, native_tokenizer, tmp_path, kind
):
    from edgesnn.student.teacher import PassSettings, load_teacher, run_teacher, trim_for
    from edgesnn.student.text.data import record_document

    folder = save_model(tmp_path / "model", kind, **STATES[kind][0])
    (folder / "chat_template.jinja").write_text(CHATML)
    teacher = load_teacher(str(folder), dtype="float32", system="You are the assistant in glasses, be short.")
    assert len(teacher.chat.before) > 8
    settings = PassSettings(k=4, max_length=32)
    cache = run_teacher(
        teacher, trim_for(teacher, 330), [record_document("Hi.", "Go.")], tmp_path / "c", settings
    )
    assert cache.complete and (cache.array("native_logp") < 0).all()


def test_what_is_wrong_with_a_reference_speaks_of_a_reference(save_model, tmp_path):
    from edgesnn.student.teacher.causal import HuggingFaceModel

    with pytest.raises(UserError, match="the reference 'encoder' is no causal language model"):
        HuggingFaceModel(str(save_model(tmp_path / "encoder", "BertLMHeadModel")), threads=1)


def test_a_model_that_is_not_there_is_no_reference():
    from edgesnn.student.teacher.causal import HuggingFaceModel

    with pytest.raises(UserError, match="no reference at"):
        HuggingFaceModel("./nowhere", threads=1)
