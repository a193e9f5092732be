"""The parts of a run's page that are text and tables: budgets, quantities, what is missing, setting."""

from __future__ import annotations

import json

from edgesnn.record.budgets import BUDGETS
from edgesnn.record.model import Model, Parity, RunRecord
from edgesnn.record.quantities import GROUPS, Kind, Quantity, QuantityGroup
from edgesnn.record.steps import StepWords
from edgesnn.record.verdicts import Budget
from edgesnn.reports.html.charts.svg import line, rect, table
from edgesnn.reports.html.markup import Child, Safe, element, enclosed, near, part
from edgesnn.reports.html.sources import Source
from edgesnn.reports.html.values import (
    badge,
    kind_badge,
    moment,
    number,
    quantity,
    value_with_interval,
    with_unit,
)
from edgesnn.reports.html.values import limit as shown_limit

#: Quantities, reasons, packages: more than a record of ours ever has.
MOST_ROWS = 600
#: Longest record that a page carries, bytes; ours have about 45,000.
MOST_ENCLOSED = 150_000


def facts(rows: list[tuple[str, Child]]) -> Safe:
    """Names and values side by side; what is None is left out."""
    shown = [
        element("div", element("dt", name), element("dd", value)) for name, value in rows if value is not None
    ]
    return element("dl", shown, class_="facts")


def run_facts(record: RunRecord) -> Safe:
    """What ran where, in one glance."""
    device, model, provenance = record.device, record.model, record.provenance
    commit = provenance.git_commit
    dirty = " with uncommitted changes" if provenance.git_dirty else ""
    threads = f"{device.threads} thread{'s' if device.threads != 1 else ''}"
    return facts(
        [
            ("device", [device.device, " ", badge(Kind.SIMULATED) if device.simulated else None]),
            ("engine", f"{device.engine} {device.engine_version}, {threads}"),
            ("profile", str(record.profile.get("name", "absent"))),
            ("program", element("code", model.program_hash[:12])),
            ("network", _network(model)),
            ("commit", [element("code", commit[:12]), dirty] if commit else "absent"),
            ("measured", f"{moment(record.started)}, {number(record.seconds)} s"),
        ]
    )


def _network(model: Model) -> str:
    """What a network reads, in one line."""
    if model.frames is not None:
        return model.frames.sentence()
    vocabulary = "absent" if model.vocab_size is None else f"{model.vocab_size:,}"
    return f"T = {model.timesteps}, context {model.context_window}, V = {vocabulary}"


def budget_cards(record: RunRecord) -> Safe | None:
    """Every budget with a limit or a value: the value against its limit."""
    found = [b for b in record.budgets if b.limit is not None or b.quantity.value is not None]
    gated = sorted(found, key=lambda b: (not b.required, b.limit is None))
    return element("ul", [_card(b, record) for b in gated], class_="cards") if gated else None


def cascade_part(record: RunRecord) -> Child:
    """The wake network in front of a language model, and what both draw together."""
    wake = record.cascade
    if wake is None:
        return None
    rows = [
        [row.label, value_with_interval(found), element("span", _why(found), class_="ends")]
        for row in GROUPS[QuantityGroup.CASCADE]
        if (found := record.quantities.get(row.name)) is not None
    ]
    heard = None
    if wake.events is not None and wake.others is not None:
        heard = (
            f"{wake.events_heard:,} of {wake.events:,} windows with an event and {wake.others_heard:,} of "
            f"{wake.others:,} others"
        )
    about: list[tuple[str, Child]] = [
        ("wake network", wake.name),
        ("program", element("code", wake.program_hash[:12])),
        ("frames", f"{number(wake.frames_per_second)} a second"),
        ("events", f"{number(wake.events_per_hour)} an hour"),
        ("wakes", heard),
    ]
    head = ("quantity", "value", "how, or why not")
    return [facts(about), table(head, rows, caption="wake network, and the answers that it asks for")]


def _why(found: Quantity) -> str:
    return found.reason or found.how or ""


def quantities_table(record: RunRecord) -> Safe:
    """Every quantity with all that the record says of it."""
    rows = []
    for name, found in list(record.quantities.items())[:MOST_ROWS]:
        samples = "" if found.n is None else f"{found.n:,}"
        if found.effective_n is not None:
            samples += f" (as {number(found.effective_n)} independent)"
        value, ends = quantity(found)
        why = "; ".join(text for text in (found.how, found.reason) if text)
        rows.append(
            [
                element("span", name, id=f"q-{name}"),
                element("span", value, class_="number"),
                ends,
                kind_badge(found.kind) or found.kind,
                samples,
                element("span", why, class_="ends"),
            ]
        )
    head = ("quantity", "value", "95 % interval", "kind", "samples", "how, or why not")
    return table(head, rows, caption="every quantity of the record")


def missing(record: RunRecord) -> Safe | None:
    """What was not measured, by reason."""
    by_reason: dict[str, list[str]] = {}
    for entry in record.not_measured[:MOST_ROWS]:
        by_reason.setdefault(entry.reason, []).append(entry.name)
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


def notes(record: RunRecord) -> Safe | None:
    """Marks of the run and what its numbers cannot say."""
    said = [*record.marks]
    said += [record.latency.p99_note] if record.latency is not None and record.latency.p99_note else []
    said += [record.energy.statement] if record.energy is not None else []
    said += [c.statement for c in record.comparisons]
    return element("ul", [element("li", text) for text in said[:100]], class_="notes") if said else None


def engines_table(record: RunRecord) -> Safe | None:
    """Other engines on the same workload."""
    rows = [
        [
            element("strong", c.target),
            c.engine or "absent",
            value_with_interval(c.p50),
            value_with_interval(c.p95),
            value_with_interval(c.ratio),
        ]
        for c in record.comparisons[:MOST_ROWS]
    ]
    head = ("target", "engine", "median", "p95", "this run over it")
    return table(head, rows, caption="forward pass of other engines, alternating windows") if rows else None


def parity_text(parity: Parity | None, words: StepWords) -> Safe | None:
    """Whether the bits are golden's."""
    if parity is None:
        return None
    forms = ", ".join(f"{form} {count:,}" for form, count in parity.forms.items())
    return element(
        "p",
        badge("PASS" if parity.mismatches == 0 else "FAIL"),
        f" {parity.mismatches:,} of {parity.logits_compared:,} integer {words.outputs} differ from golden's, "
        f"over {parity.tokens:,} {words.step}s ({parity.text}). "
        f"Mismatches by form: {forms or 'none compared'}.",
        f" First layer that differs: {parity.worst_layer}." if parity.worst_layer else None,
    )


def setting(record: RunRecord) -> Child:
    """Host, software and command line."""
    host, provenance = record.host, record.provenance
    before, after = host.before, host.after

    def both(one: float | None, other: float | None, unit: str = "") -> str:
        return f"{_or_absent(one)}, {_or_absent(other)}{unit}"

    rows: list[tuple[str, Child]] = [
        (
            "processor",
            f"{host.cpu} ({host.machine}), {host.usable_cores} of {host.logical_cores} cores usable",
        ),
        ("memory", f"{host.memory_bytes / 1e9:,.1f} GB"),
        ("system", host.system),
        ("python", provenance.python),
        ("command", element("code", " ".join(provenance.command[:200]))),
        ("load average before, after", both(before.load_average_1min, after.load_average_1min)),
        ("frequency before, after", both(before.frequency_mhz, after.frequency_mhz, " MHz")),
        ("temperature before, after", both(before.temperature_c, after.temperature_c, " °C")),
        ("governor before, after", f"{before.governor or 'absent'}, {after.governor or 'absent'}"),
    ]
    packages = [[name, version] for name, version in list(provenance.packages.items())[:MOST_ROWS]]
    details = [[key, json.dumps(value)] for key, value in list(record.device.details.items())[:MOST_ROWS]]
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
        data = json.dumps(source.record.to_json(), indent=1).encode()
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
        if (entry := source.record.arrays) is not None:
            digest = element("code", entry.sha256)
            items.append(element("li", f"{side}, SHA-256 of the raw arrays: ", digest))
        if source.arrays_reason:
            items.append(element("li", element("strong", f"{side}, no raw arrays: "), source.arrays_reason))
    return element("ul", items)


def _card(budget: Budget, record: RunRecord) -> Safe:
    found, limit = budget.quantity, budget.limit
    gate = "gates" if budget.required else "does not gate" if limit is not None else "no limit"
    value: Child = value_with_interval(found)
    judged = BUDGETS.get(budget.name)
    if judged is not None and judged.quantity in record.quantities:
        value = element("a", value, href=part(f"q-{judged.quantity}"), class_="plain")
    why = budget.reason or found.reason or ""
    return element(
        "li",
        element("p", budget.subject, class_="subject"),
        element("p", value, class_="value"),
        _gauge(budget),
        element(
            "p",
            badge(budget.verdict),
            f" {shown_limit(budget.side, limit, found.unit)}, {gate}" if limit is not None else f" {gate}",
            class_="judged",
        ),
        element("p", why, class_="why") if why else None,
    )


def _gauge(budget: Budget) -> Safe | None:
    """The value and its interval on a bar with the limit."""
    found, limit = budget.quantity, budget.limit
    value = found.value
    if limit is None or limit <= 0 or value is None:
        return None
    top = max(1.3 * limit, min(1.1 * max(value, found.upper or 0.0), 3 * limit))

    def x(place: float) -> float:
        return 2 + float(min(max(place / top, 0.0), 1.0)) * 236

    tone = {"PASS": "good", "FAIL": "bad"}.get(budget.verdict, "open")
    low, high = found.lower, found.upper
    whisker = (
        None if low is None and high is None else line(x(low or value), 9.0, x(high or value), 9.0, "reach")
    )
    return element(
        "svg",
        rect(2.0, 5.0, 236.0, 8.0, "track"),
        rect(2.0, 5.0, max(x(value) - 2, 1.5), 8.0, f"fill {tone}"),
        whisker,
        line(x(limit), 1.0, x(limit), 17.0, "limit"),
        class_="gauge",
        viewBox="0 0 240 18",
        preserveAspectRatio="none",
        role="img",
        aria_label=f"{with_unit(value, found.unit)}, limit {with_unit(limit, found.unit)}",
    )


def _or_absent(value: float | None) -> str:
    return "absent" if value is None else number(value)


def kind_note(record: RunRecord) -> Safe | None:
    """A loud line where any number is simulated."""
    names = [name for name, found in record.quantities.items() if found.kind is Kind.SIMULATED]
    kinds = {None if record.power is None else record.power.kind}
    if not names and not record.device.simulated and Kind.SIMULATED not in kinds:
        return None
    families = sorted({name.partition(".")[0] for name in names})
    what = f": {', '.join(families[:12])}" if families else ""
    return element(
        "p",
        badge(Kind.SIMULATED),
        f" Numbers of this page come from a simulation{what}. No instrument saw them.",
        class_="loud",
    )
