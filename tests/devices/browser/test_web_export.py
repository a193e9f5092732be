"""The web export in a real browser: the page that chats, the module, its tokenizer and its draws."""

import functools
import http.server
import json
import random
import re
import shutil
import subprocess
import threading
from pathlib import Path

import numpy as np
import pytest

from edgesnn import SamplingOptions, export_student, generate_text
from edgesnn.bundle.bundle import PROGRAM_NAME, Bundle
from edgesnn.errors import ExportError
from edgesnn.exporters.base import ExportSource
from edgesnn.exporters.web.exporter import MADE, SHIPPED, WebExporter, tokenizer_problem
from edgesnn.program.golden import Golden
from edgesnn.text.sampling import Sampler, Scores
from edgesnn.text.tokenizer import PROMPT_TEMPLATE, load_tokenizer
from tests.support.patience import patience

ROOT = Path(__file__).parents[3]
WEB = ROOT / "firmware_bridge/web"


@pytest.fixture(scope="session")
def exported(tmp_path_factory):
    """The reference student as a web export."""
    folder = tmp_path_factory.mktemp("web") / "bundle"
    return export_student(ROOT / "reference", folder, ["web"], name="Reference student")


@pytest.fixture(scope="session")
def address(exported):
    """A server of static files, as anybody has one."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *what):
            pass

    handler = functools.partial(Quiet, directory=str(exported.path / "web"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/"
        server.shutdown()


@pytest.fixture(scope="module")
def page(chrome, address):
    """A tab with the module loaded as a web developer would."""
    tab = chrome.phone(address)
    tab.wait_for("runs on this device")
    script = (
        "(async () => { window.m = await import('./edgesnn.js'); window.s = await m.load(); return 1; })()"
    )
    assert tab.run(script) == 1
    yield tab
    tab.close()


def said(tab, prompt, **options):
    script = (
        f"let t = ''; for await (const x of s.generate({json.dumps(prompt)}, {json.dumps(options)})) t += x;"
    )
    return tab.run(f"(async () => {{ {script} return t; }})()")


PROMPTS = ["What is on my desk?", "Tell me a story about 3 émigrés 🙂", "<|user|>it's  a trap\n"]


@pytest.mark.parametrize("prompt", PROMPTS)
def test_the_page_says_what_the_command_says(page, exported, prompt):
    wanted = str(generate_text(exported, prompt, max_tokens=40))
    assert wanted and said(page, prompt, maxTokens=40) == wanted
    drawn = SamplingOptions(temperature=0.8, top_k=50, top_p=0.9, seed=11)
    options = {"maxTokens": 40, "temperature": 0.8, "topK": 50, "topP": 0.9, "seed": 11}
    assert said(page, prompt, **options) == str(generate_text(exported, prompt, drawn, max_tokens=40))


def test_a_person_chats_with_the_page(page, exported):
    wanted = str(generate_text(exported, PROMPTS[0], max_tokens=128)).strip()
    page.run(
        f"document.getElementById('prompt').value = {json.dumps(PROMPTS[0])};"
        "document.getElementById('ask').requestSubmit()"
    )
    page.wait_for("a second")
    assert re.sub(r"\s+", " ", wanted) in re.sub(r"\s+", " ", page.text())
    hosts = page.run("performance.getEntriesByType('resource').map(e => new URL(e.name).host)")
    assert set(hosts) == {page.run("location.host")}


def test_the_logits_of_the_page_are_those_of_golden_past_the_wrap_and_from_a_saved_state(page, exported):
    program = exported.program()
    ids = np.random.default_rng(4).integers(0, program.vocab_size, 300)
    golden = Golden(program).sequence(ids[None])[0]
    page.run(f"window.ids = {json.dumps(ids.tolist())}; 1")
    every = page.run("s.engine.reset(); ids.map(i => Array.from(s.engine.step(i).slice(0, 40)))")
    np.testing.assert_array_equal(np.array(every), golden[:, :40])
    state = "s.engine.reset(); s.engine.prefill(ids.slice(0, 290)); window.kept = s.engine.save();"
    after = page.run(state + "s.engine.reset(); s.engine.restore(kept); Array.from(s.engine.step(ids[290]))")
    np.testing.assert_array_equal(np.array(after), golden[290])
    best = page.run("s.engine.best(5).ids.length && Array.from(s.engine.best(5).logits)")
    assert best == sorted(golden[290].tolist(), reverse=True)[:5]


def test_a_wrong_token_and_a_wrong_program_are_errors_with_the_engines_words(page):
    failed = "(e) => String(e)"
    assert "SNN_E_TOKEN" in page.run(f"Promise.resolve().then(() => s.engine.step(99999)).catch({failed})")
    assert "SNN_E_TRUNCATED" in page.run(f"m.Engine.open(new Uint8Array(10)).catch({failed})")
    assert "404" in page.run(f"m.load('nowhere/').catch({failed})")


def test_the_tokenizer_of_the_page_gives_the_ids_of_the_tokenizers_package(page, exported):
    tokenizer = load_tokenizer(exported.file("tokenizer.json"))
    rng = random.Random(3)
    kinds = [
        (32, 127),
        (160, 0x250),
        (0x3000, 0x30FF),
        (0x1F600, 0x1F640),
        (0x300, 0x370),
        (9, 14),
        (0x2000, 0x2010),
    ]
    texts = [
        "",
        "it's I'LL don't",
        "  two\n\n new\tline  ",
        "\ufeffa\x85\x85b\u2028",
        "<|user|>x<|assistant|>",
    ]
    texts += [
        "".join(chr(rng.randrange(*rng.choice(kinds))) for _ in range(rng.randrange(50))) for _ in range(500)
    ]
    page.run(f"window.t = s.tokenizer; window.template = {json.dumps(PROMPT_TEMPLATE)}; 1")
    three = "x => [t.encode(x), t.encodePrompt(x, template), t.decode(t.encode(x))]"
    found = page.run(f"{json.dumps(texts)}.map({three})")
    for text, (ids, prompt, back) in zip(texts, found, strict=True):
        assert ids == tokenizer.encode(text)
        assert prompt == tokenizer.encode_prompt(text, PROMPT_TEMPLATE)
        assert back == tokenizer.decode(ids)


#: How the tokenizers of Llama 3 and Qwen cut words.
CUT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)


@pytest.mark.parametrize("pattern", [CUT, None])
def test_other_byte_level_tokenizers_give_the_same_ids_too(page, pattern):
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

    inner = Tokenizer(models.BPE())
    cut = [pre_tokenizers.Split(Regex(pattern), "isolated")] if pattern else [pre_tokenizers.Digits(True)]
    inner.pre_tokenizer = pre_tokenizers.Sequence(
        [*cut, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=not pattern)]
    )
    inner.normalizer, inner.decoder = normalizers.NFC(), decoders.ByteLevel()
    text = (ROOT / "README.md").read_text("utf-8")
    trainer = trainers.BpeTrainer(
        vocab_size=600, special_tokens=["<|end|>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    inner.train_from_iterator([text], trainer)
    texts = [text[i : i + 200] for i in range(0, 4000, 200)]
    texts += ["IT'S 1234567 e\u0301 'ſ 'Sx\r\n\r\n  y", "a<|end|>b 12 ", "\u212a\u00a0\u3000 z"]
    document = json.loads(inner.to_str())
    assert tokenizer_problem(document) is None
    page.run(f"window.t = new m.Tokenizer({json.dumps(document)}); 1")
    assert page.run(f"{json.dumps(texts)}.map(x => t.encode(x))") == [
        inner.encode(t, add_special_tokens=False).ids for t in texts
    ]


def test_the_draws_of_the_page_are_those_of_numpy(page):
    for seed in (0, 7, 2**31, 2**32 + 5, 2**64 + 3, 2**130 + 77):
        found = page.run(
            f"(() => {{ const g = m.generator({seed}n); return Array.from({{length: 20}}, g); }})()"
        )
        assert found == np.random.default_rng(seed).random(20).tolist()
    logits = (np.random.default_rng(5).normal(size=(30, 300)) * 3).astype(np.float32)
    for options in (
        {},
        {"temperature": 0.7},
        {"temperature": 1.0, "top_k": 9},
        {"temperature": 0.9, "top_p": 0.8},
    ):
        ours = Sampler(SamplingOptions(**options, seed=3))
        names = {"top_k": "topK", "top_p": "topP"}
        theirs = json.dumps({names.get(k, k): v for k, v in options.items()} | {"seed": 3})
        page.run(f"window.f = m.sampler({theirs}); 1")
        drawn = page.run(f"{json.dumps(logits.tolist())}.map(l => f(Float32Array.from(l)))")
        assert drawn == [ours(Scores(row)) for row in logits]


def test_the_module_runs_in_node_as_a_package(exported, tmp_path):
    node = shutil.which("node")
    if node is None:
        pytest.skip("no node")
    wanted = str(generate_text(exported, PROMPTS[0], max_tokens=20))
    package = json.loads((exported.path / "web/package.json").read_text("utf-8"))
    assert package["name"] == "reference-student" and package["types"] == "./edgesnn.d.ts"
    # node's fetch reads no files: a page's loader is given them by hand
    script = f"""
      import fs from "node:fs";
      import {{ Engine, Student, Tokenizer }} from "{(exported.path / "web/edgesnn.js").as_uri()}";
      const at = (name) => fs.readFileSync(new URL(name, "{(exported.path / "web").as_uri()}/"));
      const engine = await Engine.open(at("program.snn"), at("engine-scalar.wasm"));
      const json = (name) => JSON.parse(at(name));
      const student = new Student(engine, new Tokenizer(json("tokenizer.json")), json("student.json"));
      const prompt = {json.dumps(PROMPTS[0])};
      let text = "";
      for await (const piece of student.generate(prompt, {{ maxTokens: 20 }})) text += piece;
      process.stdout.write(text);
    """
    path = tmp_path / "run.mjs"
    path.write_text(script, "utf-8")
    done = subprocess.run([node, path], capture_output=True, text=True, timeout=patience(), check=True)
    assert done.stdout == wanted


def test_the_shipped_modules_are_those_of_the_sources():
    """Without the compiler by the hash of the sources, with it by building again."""
    import importlib.metadata
    import importlib.util
    import sys

    spec = importlib.util.spec_from_file_location("build_wasm", ROOT / "tools/build_wasm.py")
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    assert (WEB / "engine.json").read_text("utf-8") == tool.description(WEB), "run tools/build_wasm.py"
    if importlib.util.find_spec("ziglang") and importlib.metadata.version("ziglang") == tool.ZIG:
        subprocess.run([sys.executable, ROOT / "tools/build_wasm.py", "--check"], check=True)


def test_the_export_names_every_file_and_is_small(exported):
    entry = exported.manifest.exports["web"]
    assert set(entry.files) == {*SHIPPED, *MADE}
    assert {p.name for p in (exported.path / "web").iterdir()} == {Path(f).name for f in entry.files.values()}
    assert (exported.path / "web/program.snn").read_bytes() == exported.file(PROGRAM_NAME).read_bytes()
    code = sum(
        (exported.path / "web" / name).stat().st_size for name in ("edgesnn.js", "engine.js", "tokenizer.js")
    )
    assert code < 20_000 and (exported.path / "web/engine.wasm").stat().st_size < 60_000


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"model": {"type": "WordPiece"}}, "WordPiece"),
        ({"normalizer": {"type": "Lowercase"}}, "Lowercase"),
        ({"pre_tokenizer": {"type": "Whitespace"}}, "Whitespace"),
        ({"pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": True}}, "ByteLevel"),
        ({"pre_tokenizer": {"type": "Split", "behavior": "Removed", "pattern": {"Regex": " "}}}, "Split"),
    ],
)
def test_a_tokenizer_that_a_page_cannot_be_is_refused_by_name(exported, tmp_path, change, named):
    content = json.loads(exported.file("tokenizer.json").read_text("utf-8"))
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(content | change), "utf-8")
    source = ExportSource(exported.program(), None, "x", "00", tokenizer=path)
    with pytest.raises(ExportError) as caught:
        WebExporter().export(source, tmp_path)
    assert named in caught.value.sentence()
    assert not (tmp_path / "web").exists()
    with pytest.raises(ExportError, match="needs the student's tokenizer"):
        WebExporter().export(ExportSource(exported.program(), None, "x", "00"), tmp_path)


def test_a_bundle_opens_with_the_export_in_it(exported):
    assert Bundle(exported.path).has_export("web")
