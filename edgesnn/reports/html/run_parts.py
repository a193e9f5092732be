"""The parts of a run's page that are text and tables: budgets, quantities, what is missing, setting."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from edgesnn.reports.html.badges import badge, value_with_interval
from edgesnn.reports.html.markup import Child, Safe, element, enclosed, near, part
from edgesnn.reports.html.numbers import interval, moment, number, with_unit
from edgesnn.reports.html.numbers import limit as shown_limit
from edgesnn.reports.html.sources import Document, Source
from edgesnn.reports.html.svg import line, rect, table

#: Quantities, reasons, packages: more than a record of ours ever has.
MOST_ROWS = 600
#: Longest record that a page carries, bytes; ours have about 45,000.
MOST_ENCLOSED = 150_000
_BUDGET_QUANTITIES = {
    "latency_ms_p95": "latency.p95",
    "first_token_ms_p95": "first_token.p95",
    "power_mw": "power.mean",
    "size_mb": "size.model",
    "memory_mb": "memory.peak",
    "retention": "accuracy.retention",
    "parity_mismatches": "parity.mismatches",
    "bits_per_byte": "accuracy.bits_per_byte",
    "top1": "accuracy.top1",
    "synaptic_operations": "activity.synaptic_operations",
    "spike_rate": "activity.spike_rate",
}


def facts(rows: list[tuple[str, Child]]) -> Safe:
    """Names and values side by side; what is None is left out."""
    shown = [
        element("div", element("dt", name), element("dd", value)) for name, value in rows if value is not None
    ]
    return element("dl", shown, class_="facts")


def run_facts(document: Document) -> Safe:
    """What ran where, in one glance."""
    device, model, provenance = document["device"], document["model"], document["provenance"]
    commit = provenance["git_commit"]
    dirty = " with uncommitted changes" if provenance["git_dirty"] else ""
    threads = f"{device['threads']} thread{'s' if device['threads'] != 1 else ''}"
    return facts(
        [
            ("device", [device["device"], " ", badge("SIMULATED") if device["simulated"] else None]),
            ("engine", f"{device['engine']} {device['engine_version']}, {threads}"),
            ("profile", str(document["profile"].get("name", "absent"))),
            ("program", element("code", model["program_hash"][:12])),
            (
                "network",
                f"T = {model['timesteps']}, context {model['context_window']}, V = {model['vocab_size']:,}",
            ),
            ("commit", [element("code", commit[:12]), dirty] if commit else "absent"),
            ("measured", f"{moment(document['started'])}, {number(document['seconds'])} s"),
        ]
    )


def budget_cards(document: Document) -> Safe | None:
    """Every budget with a limit or a value: the value against its limit."""
    found = [b for b in document["budgets"] if b["limit"] is not None or b["quantity"]["value"] is not None]
    gated = sorted(found, key=lambda b: (not b["required"], b["limit"] is None))
    return element("ul", [_card(b, document) for b in gated], class_="cards") if gated else None


def quantities_table(document: Document) -> Safe:
    """Every quantity with all that the record says of it."""
    rows = []
    for name, found in list(document["quantities"].items())[:MOST_ROWS]:
        samples = "" if found["n"] is None else f"{found['n']:,}"
        if found["effective_n"] is not None:
            samples += f" (as {number(found['effective_n'])} independent)"
        present = found["value"] is not None
        value = with_unit(found["value"], found["unit"]) if present else "absent"
        why = "; ".join(text for text in (found["how"], found["reason"]) if text)
        rows.append(
            [
                element("span", name, id=f"q-{name}"),
                element("span", value, class_="number"),
                interval(found["lower"], found["upper"]),
                badge(found["kind"]) if found["kind"] != "MEASURED" else "MEASURED",
                samples,
                element("span", why, class_="ends"),
            ]
        )
    head = ("quantity", "value", "95 % interval", "kind", "samples", "how, or why not")
    return table(head, rows, caption="every quantity of the record")


def missing(document: Document) -> Safe | None:
    """What was not measured, by reason."""
    by_reason: dict[str, list[str]] = {}
    for entry in document["not_measured"][:MOST_ROWS]:
        by_reason.setdefault(entry["reason"], []).append(entry["name"])
    if not by_reason:
        return None
    return element(
        "dl",
        [
            element(
                "div", element("dt", reason), element("dd", [[element("code", name), " "] for name in names])
            )
            for reason, names in by_reason.items()
        ],
        class_="missing",
    )


def notes(document: Document) -> Safe | None:
    """Marks of the run and what its numbers cannot say."""
    latency, energy = document["latency"], document.get("energy")
    said = [*document["marks"]]
    said += [latency["p99_note"]] if latency is not None and latency["p99_note"] else []
    said += [energy["statement"]] if energy is not None else []
    said += [c["statement"] for c in document["comparisons"]]
    return element("ul", [element("li", text) for text in said[:100]], class_="notes") if said else None


def engines_table(document: Document) -> Safe | None:
    """Other engines on the same workload."""
    rows = [
        [
            element("strong", c["target"]),
            c["engine"] or "absent",
            value_with_interval(c["p50"]),
            value_with_interval(c["p95"]),
            value_with_interval(c["ratio"]),
        ]
        for c in document["comparisons"][:MOST_ROWS]
    ]
    head = ("target", "engine", "median", "p95", "this run over it")
    return table(head, rows, caption="forward pass of other engines, alternating windows") if rows else None


def parity_text(document: Document) -> Safe | None:
    """Whether the bits are golden's."""
    parity = document["parity"]
    if parity is None:
        return None
    forms = ", ".join(f"{form} {count:,}" for form, count in parity["forms"].items())
    same = parity["mismatches"] == 0
    return element(
        "p",
        badge("PASS" if same else "FAIL"),
        f" {parity['mismatches']:,} of {parity['logits_compared']:,} integer logits differ from golden's, "
        f"over {parity['tokens']:,} tokens ({parity['text']}). "
        f"Mismatches by form: {forms or 'none compared'}.",
        f" First layer that differs: {parity['worst_layer']}." if parity["worst_layer"] else None,
    )


def setting(document: Document) -> Child:
    """Host, software and command line."""
    host, provenance = document["host"], document["provenance"]
    before, after = host["before"], host["after"]
    rows: list[tuple[str, Child]] = [
        (
            "processor",
            f"{host['cpu']} ({host['machine']}), "
            f"{host['usable_cores']} of {host['logical_cores']} cores usable",
        ),
        ("memory", f"{host['memory_bytes'] / 1e9:,.1f} GB"),
        ("system", host["system"]),
        ("python", provenance["python"]),
        ("command", element("code", " ".join(provenance["command"][:200]))),
        (
            "load average before, after",
            f"{_or_absent(before['load_average_1min'])}, {_or_absent(after['load_average_1min'])}",
        ),
        (
            "frequency before, after",
            f"{_or_absent(before['frequency_mhz'])}, {_or_absent(after['frequency_mhz'])} MHz",
        ),
        (
            "temperature before, after",
            f"{_or_absent(before['temperature_c'])}, {_or_absent(after['temperature_c'])} °C",
        ),
        ("governor before, after", f"{before['governor'] or 'absent'}, {after['governor'] or 'absent'}"),
    ]
    packages = [[name, version] for name, version in list(provenance["packages"].items())[:MOST_ROWS]]
    details = [
        [key, json.dumps(value)] for key, value in list(document["device"]["details"].items())[:MOST_ROWS]
    ]
    return [
        facts(rows),
        element(
            "details",
            element("summary", "Versions of packages"),
            table(("package", "version"), packages, caption="packages"),
        ),
        element(
            "details",
            element("summary", "What the runner told"),
            table(("key", "value"), details, caption="details"),
        )
        if details
        else None,
    ]


def raw_data(head: Source, base: Source | None) -> Child:
    """Links to the records and arrays, and the records themselves inside the page."""
    items: list[Child] = []
    for side, source in (("this run", head), ("base", base)):
        if source is None:
            continue
        data = json.dumps(source.document, indent=1).encode()
        file_name = f"{'run' if source is head else 'base'}.json"
        inside: Child = (
            element(
                "a",
                f"save the record ({len(data):,} bytes, kept in this page)",
                href=enclosed(data, "application/json"),
                download=file_name,
            )
            if len(data) < MOST_ENCLOSED
            else "the record is too long to be kept in this page"
        )
        items.append(element("li", element("strong", f"{side}: "), inside))
        for path, what in ((source.link, "record"), (source.arrays_link, "raw arrays")):
            link = None if path is None else near(path)
            if link is not None and path is not None:
                items.append(
                    element("li", f"{side}, {what} beside this page: ", element("a", path, href=link))
                )
        digest = (source.document["arrays"] or {}).get("sha256")
        if digest:
            items.append(element("li", f"{side}, SHA-256 of the raw arrays: ", element("code", digest)))
        if source.arrays_reason:
            items.append(element("li", element("strong", f"{side}, no raw arrays: "), source.arrays_reason))
    return element("ul", items)


def _card(budget: Mapping[str, Any], document: Document) -> Safe:
    found, limit = budget["quantity"], budget["limit"]
    name = _BUDGET_QUANTITIES.get(budget["name"], "")
    gate = "gates" if budget["required"] else "does not gate" if limit is not None else "no limit"
    value: Child = value_with_interval(found)
    if name in document["quantities"]:
        value = element("a", value, href=part(f"q-{name}"), class_="plain")
    why = budget["reason"] or found["reason"] or ""
    return element(
        "li",
        element("p", budget["subject"], class_="subject"),
        element("p", value, class_="value"),
        _gauge(budget),
        element(
            "p",
            badge(budget["verdict"]),
            f" {shown_limit(budget['side'], limit, found['unit'])}, {gate}"
            if limit is not None
            else f" {gate}",
            class_="judged",
        ),
        element("p", why, class_="why") if why else None,
    )


def _gauge(budget: Mapping[str, Any]) -> Safe | None:
    """The value and its interval on a bar with the limit."""
    found, limit = budget["quantity"], budget["limit"]
    if limit is None or limit <= 0 or found["value"] is None:
        return None
    top = max(1.3 * limit, min(1.1 * max(found["value"], found["upper"] or 0.0), 3 * limit))

    def x(value: float) -> float:
        return 2 + float(min(max(value / top, 0.0), 1.0)) * 236

    tone = {"PASS": "good", "FAIL": "bad"}.get(budget["verdict"], "open")
    low, high = found["lower"], found["upper"]
    whisker = (
        None
        if low is None and high is None
        else line(x(low or found["value"]), 9.0, x(high or found["value"]), 9.0, "reach")
    )
    return element(
        "svg",
        rect(2.0, 5.0, 236.0, 8.0, "track"),
        rect(2.0, 5.0, max(x(found["value"]) - 2, 1.5), 8.0, f"fill {tone}"),
        whisker,
        line(x(limit), 1.0, x(limit), 17.0, "limit"),
        class_="gauge",
        viewBox="0 0 240 18",
        preserveAspectRatio="none",
        role="img",
        aria_label=f"{with_unit(found['value'], found['unit'])}, limit {with_unit(limit, found['unit'])}",
    )


def _or_absent(value: float | None) -> str:
    return "absent" if value is None else number(value)


def kind_note(document: Document) -> Safe | None:
    """A loud line where any number is simulated."""
    names = [name for name, q in document["quantities"].items() if q["kind"] == "SIMULATED"]
    power = document.get("power")
    if not names and not document["device"]["simulated"] and (power is None or power["kind"] != "SIMULATED"):
        return None
    families = sorted({name.partition(".")[0] for name in names})
    what = f": {', '.join(families[:12])}" if families else ""
    return element(
        "p",
        badge("SIMULATED"),
        f" Numbers of this page come from a simulation{what}. No instrument saw them.",
        class_="loud",
    )
