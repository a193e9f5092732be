"""The page of a run: what stands on it, and what hostile records cannot do to it."""

import copy
import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from pydantic import ValidationError

from edgesnn.errors import RecordError
from edgesnn.record.files import RunData
from edgesnn.record.model import RunRecord
from edgesnn.reports.comparing.compare import base_sides, compare_runs
from edgesnn.reports.comparing.summary import summarise_run
from edgesnn.reports.html.charts.chip import ChipMap, read_mapping
from edgesnn.reports.html.page import MAX_BYTES
from edgesnn.reports.html.run_page import run_page
from edgesnn.reports.html.sources import Source, load_source
from tests.support import page_records as records
from tests.support.hostile import HOSTILE

ALLOWED_ADDRESSES = re.compile(r"(#|data:application/json;base64,|[^:/\\][^:\\]*$)")
MAPPING = {
    "schema": "edgesnn.map/1", "program_hash": "ab" * 32, "chip": {"name": "loihi2"}, "fits": False,
    "placement": "greedy", "neurons": 6976, "synapses": 533_888, "cores": 5, "attention_cores": 2,
    "cores_available": 120,
    "usage": [{"what": "neurons", "largest": 9000, "limit": 8192, "total": 12_000}],
    "populations": [
        {"name": "embed", "kind": "input", "neurons": 128, "synapses": 0, "synapse_bytes": 0, "cores": 1}
    ],
    "attentions": [{"name": "attend", "states": 16_384, "state_bytes": 39_552, "cores": 2}],
    "violations": [{"where": "embed", "what": "neurons", "actual": "9000", "limit": "8192"}],
}  # fmt: skip


class Reader(HTMLParser):
    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.elements, self.attributes, self.ids, self.text = set(), [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.add(tag)
        self.attributes += attrs
        self.ids += [value for name, value in attrs if name == "id"]

    def handle_data(self, data):
        self.text.append(data)


def compared(head, *bases):
    sessions = [summarise_run(one.run, f"base{i}.json") for i, one in enumerate(bases)]
    return compare_runs(base_sides(sessions), [summarise_run(head.run, "run.json")])


def sound(text):
    """A page that loads nothing, runs nothing, and whose parts have names of their own."""
    found = Reader(text)
    assert found.elements & {"script", "iframe", "img", "object", "embed", "link", "form", "base"} == set()
    assert [n for n, _ in found.attributes if n.startswith("on") or n in ("style", "src")] == []
    for name, value in found.attributes:
        if name == "href":
            assert ALLOWED_ADDRESSES.match(value), value
    assert len(found.ids) == len(set(found.ids))
    assert len(text.encode()) <= MAX_BYTES
    return found


def test_a_page_with_everything_is_sound_and_says_the_verdict_first():
    head = records.source(power=True, p95_ms=9.0)
    bases = [records.source(power=True, created=f"2026-02-0{i + 1}T10:00:00+00:00") for i in range(6)]
    comparison = compared(head, *bases)
    found = sound(run_page(head, bases[0], comparison, mapping=ChipMap.model_validate(MAPPING)))
    text = " ".join(found.text)
    assert comparison.verdict.value in text[: text.index("Budgets")]
    for word in (
        "Changes",
        "Power",
        "Latency",
        "Spikes",
        "Chip map",
        "Uncertainty",
        "Not measured",
        "Raw data",
    ):
        assert word in text
    assert "no teacher to compare with" in text
    assert "embed: neurons: 9000, limit 8192" in text


def test_every_picture_has_a_title_and_a_description_and_every_chart_its_numbers():
    text = run_page(records.source(power=True))
    for svg in re.findall(r"<svg .*?</svg>", text, re.DOTALL):
        assert "aria-label=" in svg or ("<title id=" in svg and "<desc id=" in svg)
        assert 'role="img"' in svg
    assert text.count("The numbers: ") >= 5


def test_links_inside_a_page_lead_somewhere():
    found = sound(run_page(records.source(power=True)))
    targets = {value[1:] for name, value in found.attributes if name == "href" and value.startswith("#")}
    assert targets <= set(found.ids)


@pytest.mark.parametrize("power", [False, True])
def test_a_record_without_sections_still_makes_a_page(power):
    document = records.document(power=power)
    for name in ("latency", "activity", "energy", "parity"):
        document[name] = None
    document |= {"budgets": [], "marks": [], "quantities": {}, "not_measured": []}
    if power:
        document["power"] |= {"windows": [], "uncertainty": {}}
    sound(run_page(Source(records.run(document))))


def test_what_is_simulated_says_so_at_its_value_its_charts_and_on_top():
    text = run_page(records.source(power=True))
    assert "Numbers of this page come from a simulation" in text
    assert "Power over time (SIMULATED)" in text
    assert "Uncertainty budget of power.mean (SIMULATED)" in text


def replaced(value, text):
    """Plain data with every string of it replaced, keys of free tables too."""
    if isinstance(value, dict):
        return {key: replaced(item, text) for key, item in value.items()}
    if isinstance(value, list):
        return [replaced(item, text) for item in value]
    return text if isinstance(value, str) else value


def hostile_run(text):
    """A run with a string in every place where the schema takes any, names of free tables too."""
    plain = records.document(power=True)
    hostile = replaced(copy.deepcopy(plain), text)
    hostile["quantities"] = {f"{text}{i}": q for i, q in enumerate(hostile["quantities"].values())}
    hostile["device"]["details"] = {text: text}
    hostile["provenance"]["packages"] = {text: text}
    hostile["power"]["uncertainty"] = {text: {"unit": text, text: 1.0}}
    for estimate in hostile["energy"]["estimates"]:
        estimate["parts_uj"] = {text: 1.0}
    kinds = [quantity["kind"] for quantity in plain["quantities"].values()]
    for quantity, kind in zip(hostile["quantities"].values(), kinds, strict=True):
        quantity["kind"] = kind
    hostile["not_measured"] = [
        {"name": name, "reason": text} for name, q in hostile["quantities"].items() if q["kind"] == "ABSENT"
    ]
    while True:  # what the schema gives words or a form of its own takes no other: those keep theirs
        try:
            return RunData(RunRecord.model_validate(hostile), records.arrays(power=True))
        except ValidationError as error:
            for place in (one["loc"] for one in error.errors()):
                mine, its = hostile, plain
                for part in place[:-1]:
                    mine, its = mine[part], its[part]
                assert mine[place[-1]] != its[place[-1]], place
                mine[place[-1]] = its[place[-1]]


@pytest.mark.parametrize("text", HOSTILE)
def test_a_hostile_string_in_every_place_of_a_record_injects_nothing(text):
    head = Source(hostile_run(text), text, text)
    assert head.record.device.engine == head.record.marks[0] == text
    allowed = Reader(run_page(records.source(power=True), mapping=ChipMap.model_validate(MAPPING))).elements
    mapping = ChipMap.model_validate({**replaced(MAPPING, text), "schema": "edgesnn.map/1"})
    found = Reader(run_page(head, mapping=mapping))
    assert found.elements <= allowed | {"li", "ul", "p"}
    assert [n for n, _ in found.attributes if n.startswith("on") or n in ("style", "src")] == []
    for name, value in found.attributes:
        if name == "href":
            assert ALLOWED_ADDRESSES.match(value), value


def test_a_page_carries_its_own_policy_against_scripts_and_requests():
    text = run_page(records.source())
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text).group(1)
    assert policy.startswith("default-src &#x27;none&#x27;; style-src &#x27;sha256-")
    assert "unsafe" not in policy


def test_a_thousand_targets_fit_on_one_page_what_changed_first():
    head = records.source()
    one = summarise_run(head.run, "run.json")
    bases = [replace(one, key=replace(one.key, target=f"device-{i}")) for i in range(1_000)]
    size = one.counts["size.model"]
    worse = {**one.counts, "size.model": replace(size, value=size.value + 10)}
    heads = [*bases[:777], replace(bases[777], counts=worse), *bases[778:]]
    comparison = compare_runs(base_sides(bases), heads)
    text = run_page(head, None, comparison)
    assert len(text.encode()) <= MAX_BYTES
    rows = text[text.index("<tbody>") :]
    assert rows.index("device-777") < rows.index("no change")
    assert "more rows" in text


def test_a_record_swollen_with_text_still_makes_a_page_that_says_what_it_leaves_out():
    document = records.document()
    long = "x" * 900
    document["quantities"] = {
        f"{i}{long}": {**records.quantity(1.0, "ms"), "how": long, "reason": long} for i in range(1_000)
    }
    document["not_measured"] = []
    text = run_page(Source(records.run(document)))
    assert len(text.encode()) <= MAX_BYTES
    assert "Left out" in text


def test_a_changed_array_file_leaves_a_page_that_says_so(tmp_path):
    path = records.write_record(tmp_path, "run", records.document(), records.arrays())
    assert load_source(path, tmp_path).arrays_reason is None
    path.with_suffix(".npz").write_bytes(b"edited")
    source = load_source(path, tmp_path)
    assert "was changed after the run" in source.arrays_reason
    assert "was changed after the run" in run_page(source)
    path.with_suffix(".npz").unlink()
    assert "missing" in load_source(path, tmp_path).arrays_reason


def test_the_raw_data_of_a_page_are_a_link_away(tmp_path):
    path = records.write_record(tmp_path / "records", "run", records.document(), records.arrays())
    text = run_page(load_source(path, tmp_path / "pages"))
    assert 'href="../records/run.json"' in text
    assert 'href="../records/run.npz"' in text
    assert "data:application/json;base64," in text


@pytest.mark.parametrize("broken", ["", "[]", "{", '{"schema": "edgesnn.map/2"}', "\ud800"])
def test_what_is_no_chip_map_is_refused(tmp_path, broken):
    path = tmp_path / "map.json"
    path.write_bytes(broken.encode("utf-8", "surrogatepass"))
    with pytest.raises(RecordError):
        read_mapping(path)
    with pytest.raises(RecordError):
        read_mapping(tmp_path / "none.json")


def test_a_chip_map_is_read_and_extra_keys_are_left_out(tmp_path):
    path = tmp_path / "map.json"
    path.write_text(json.dumps({**MAPPING, "more": 1}))
    assert read_mapping(path).cores == 5


def luminance(colour):
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))


def test_every_text_colour_has_the_contrast_that_wcag_asks_for():
    text = run_page(records.source())
    sheet = text[text.index("<style>") : text.index("</style>")]
    palettes = [
        dict(re.findall(r"--([a-z0-9-]+): (#[0-9a-f]{6})", block)) for block in sheet.split(":root {")[1:3]
    ]
    assert len(palettes) == 2
    pairs = [(ink, paper) for ink in ("ink", "soft", "accent", "limit") for paper in ("paper", "card")]
    pairs += [(tone, f"{tone}-back") for tone in ("good", "bad", "open", "unreal")] + [("soft", "quiet-back")]
    for palette in palettes:
        for ink, paper in pairs:
            light, dark = sorted((luminance(palette[ink]), luminance(palette[paper])), reverse=True)
            assert (light + 0.05) / (dark + 0.05) >= 4.5, (ink, paper)
