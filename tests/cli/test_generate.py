"""``edgesnn generate``: the same text on every exact target, and clear errors."""

import io
import json

import pytest

from edgesnn.cli.main import run
from edgesnn.runners.golden import GoldenRunner
from tests.support.artifacts import write_artifact
from tests.support.bundles import copied_bundle, manifest_of, shared_bundle, write_manifest


@pytest.fixture
def generate(capsys):
    """Exit code and document of ``generate --json`` on the shared bundle."""

    def call(*arguments, model=None, prompt="What is that"):
        code = run(["generate", str(model or shared_bundle()), prompt, *map(str, arguments), "--json"])
        captured = capsys.readouterr()
        assert captured.err == ""
        return code, json.loads(captured.out)

    return call


SAMPLED = ("--max-tokens", 12, "--temperature", 1.0, "--top-p", 0.95, "--seed", 3)


def test_the_document_holds_prompt_text_and_tokens(generate):
    from edgesnn.text.tokenizer import load_tokenizer

    code, document = generate(*SAMPLED)
    assert code == 0
    assert document["schema"] == "edgesnn.generate/1"
    assert document["prompt"] == "What is that"
    assert (document["prompt_tokens"][0], document["prompt_tokens"][-1]) == (1, 2)
    assert 0 < len(document["tokens"]) <= 12
    tokenizer = load_tokenizer(shared_bundle() / "tokenizer.json")
    assert document["text"] == tokenizer.decode(document["tokens"])
    assert document["start_to_first_token_ms"] > 0


def test_every_exact_target_writes_the_same_text(generate):
    documents = [
        generate("--target", target, *SAMPLED)[1] for target in ("golden", "native", "onnxruntime", "cpu")
    ]
    assert len({tuple(document["tokens"]) for document in documents}) == 1


def test_a_seed_repeats_the_text_and_another_changes_it(generate):
    first, again = generate(*SAMPLED)[1]["tokens"], generate(*SAMPLED)[1]["tokens"]
    other = generate(*SAMPLED[:-1], 4)[1]["tokens"]
    assert first == again != other


def test_text_is_streamed_to_stdout(capsys):
    arguments = ["generate", str(shared_bundle()), "Hello", "--max-tokens", "5", "--temperature", "1"]
    assert run(arguments) == 0
    shown = capsys.readouterr().out
    assert run([*arguments, "--json"]) == 0
    assert shown == json.loads(capsys.readouterr().out)["text"] + "\n"


def test_in_a_process_of_its_own_it_prints_the_text(edgesnn):
    finished = edgesnn("generate", shared_bundle(), "Hello", "--max-tokens", 4, "--json")
    assert (finished.exit_code, finished.stderr) == (0, "")
    assert len(finished.document["tokens"]) <= 4


def test_the_template_surrounds_the_prompt_unless_raw_is_asked(generate, monkeypatch):
    prompted, prefill = [], GoldenRunner.prefill

    def remember(self, ids):
        prompted.append(ids[0].tolist())
        return prefill(self, ids)

    monkeypatch.setattr(GoldenRunner, "prefill", remember)
    generate("--target", "golden", "--max-tokens", 1)
    generate("--target", "golden", "--max-tokens", 1, "--raw")
    assert (prompted[0][0], prompted[0][-1]) == (1, 2)
    assert prompted[0][1:-1] == prompted[1]


def test_a_runner_without_prefill_writes_the_same_text(generate, monkeypatch):
    from edgesnn.runners.base import Capability

    whole = generate("--target", "golden", *SAMPLED)[1]["tokens"]
    monkeypatch.setattr(GoldenRunner, "capabilities", GoldenRunner.capabilities - {Capability.PREFILL})
    assert generate("--target", "golden", *SAMPLED)[1]["tokens"] == whole


def test_a_dash_reads_the_prompt_from_standard_input(generate, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("What is that"))
    _, document = generate(*SAMPLED, prompt="-")
    assert document["prompt"] == "What is that"
    assert document["tokens"] == generate(*SAMPLED)[1]["tokens"]


def test_an_artifact_is_compiled_on_the_way_and_nothing_is_left(generate, tmp_path, monkeypatch):
    import tempfile

    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    artifact = write_artifact(tmp_path / "student")
    assert generate(*SAMPLED, model=artifact)[1]["tokens"] == generate(*SAMPLED)[1]["tokens"]
    assert list((tmp_path / "temporary").iterdir()) == []


def test_text_stops_at_the_end_token(generate, monkeypatch):
    step = GoldenRunner.prefill

    def ends(self, ids):
        output = step(self, ids)
        output.logits[0, 0] = output.logits.max() + 1
        return output

    monkeypatch.setattr(GoldenRunner, "prefill", ends)
    code, document = generate("--target", "golden")
    assert (code, document["text"], document["tokens"]) == (0, "", [])
    assert document["start_to_first_token_ms"] is None


@pytest.mark.parametrize(
    "arguments",
    [
        ("--max-tokens", 0),
        ("--temperature", -1),
        ("--temperature", "nan"),
        ("--top-k", -1),
        ("--top-p", 0),
        ("--top-p", 1.5),
        ("--seed", -1),
        ("--target", "nowhere"),
        ("--target", "golden:"),
        ("--colour", "red"),
    ],
)
def test_options_out_of_range_and_unknown_targets_are_usage_errors(generate, arguments):
    code, document = generate(*arguments)
    assert (code, document["error"]["exit_code"]) == (2, 2)


def test_an_empty_prompt_is_a_text_error_only_without_a_template(generate):
    code, document = generate("--raw", prompt="")
    assert (code, document["error"]["code"]) == (1, "text")
    assert generate("--max-tokens", 1, prompt="")[0] == 0


def test_a_prompt_of_bytes_that_are_no_text_is_a_text_error(generate):
    code, document = generate(prompt="caf\udce9")
    assert (code, document["error"]["code"]) == (1, "text")


def test_no_model_and_a_folder_that_is_none_are_user_errors(generate, tmp_path):
    for path in (tmp_path / "nowhere", tmp_path):
        code, document = generate(model=path)
        assert (code, document["error"]["code"]) == (1, "bundle")


def test_an_end_token_that_the_tokenizer_does_not_have_is_a_text_error(generate, tmp_path):
    folder = copied_bundle(tmp_path / "bundle")
    write_manifest(folder, {**manifest_of(folder), "text": {"end_of_text": "<|stop|>"}})
    code, document = generate(model=folder)
    assert (code, document["error"]["code"]) == (1, "text")
    assert "<|stop|>" in document["error"]["what"]
