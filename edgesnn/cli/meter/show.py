"""What the meter commands share: their arguments, units for people, the end by Ctrl-C, results as text."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgesnn.errors import EdgesnnError, MeterError, RecordingError, UsageError

if TYPE_CHECKING:
    from edgesnn.cli.output import CommandOutput
    from edgesnn.meters.base import Loss, MeterInfo, Settings
    from edgesnn.meters.samples.summary import StreamSummary

Address = Annotated[
    str,
    typer.Argument(
        metavar="METER",
        help="Address: NAME[:SERIAL, PORT or FILE][?voltage=3.7&...]; see: edgesnn list meters",
        show_default=False,
    ),
]
Power = Annotated[
    bool,
    typer.Option("--power/--no-power", help="Switch the supply of the device on, where the meter has one."),
]
SIMULATED = "SIMULATED"
_PREFIXES = ((1.0, ""), (1e-3, "m"), (1e-6, "u"), (1e-9, "n"))


def quantity(value: float | None, unit: str, digits: int = 4) -> str:
    """A value with the prefix that suits it: 0.0123 W is ``12.3 mW``; a dash for what is not known."""
    if value is None:
        return "-"
    scale, prefix = next(((s, p) for s, p in _PREFIXES if abs(value) >= s), _PREFIXES[-1])
    if value == 0:
        scale, prefix = 1.0, ""
    return f"{value / scale:.{digits}g} {prefix}{unit}"


@contextmanager
def until_interrupted() -> Iterator[Callable[[], bool]]:
    """Take the first Ctrl-C (or SIGTERM) as the wish to end; a second one interrupts.

    Yields:
        Whether the wish was uttered.
    """
    wish = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield wish.is_set
        return

    def once(number: int, frame: Any) -> None:
        if wish.is_set():
            raise KeyboardInterrupt
        wish.set()

    before = {number: signal.signal(number, once) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield wish.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def positive(value: float | None, option: str) -> None:
    """Refuse a duration that is none.

    Raises:
        UsageError: It is not above 0.
    """
    if value is not None and not 0 < value < float("inf"):
        raise UsageError(f"{option} must be above 0", actual=f"{value:g}")


def identity(info: MeterInfo) -> str:
    """An instrument on one line."""
    parts = [info.model]
    if info.serial_number:
        parts.append(f"serial number {info.serial_number}")
    if info.firmware:
        parts.append(f"firmware {info.firmware}")
    parts.append(f"on {info.port}")
    return ", ".join(parts) + (f"  [{SIMULATED}]" if info.simulated else "")


def settings_line(settings: Settings) -> str:
    """Settings in force on one line."""
    said = [
        f"{settings.voltage_v:g} V" if settings.voltage_v is not None else "",
        f"{settings.rate_hz:g} samples a second" if settings.rate_hz is not None else "",
        settings.mode or "",
        settings.range or "",
    ]
    return ", ".join(one for one in said if one) or "as it is"


def loss_line(loss: Loss) -> str:
    """An account on one line."""
    text = f"{loss.received:,} received, {loss.missing + loss.suspected:,} lost ({loss.fraction:.3%})"
    if loss.suspected:
        text += f", {loss.suspected:,} of them by the clock only"
    if loss.discarded_bytes:
        text += f", {loss.discarded_bytes:,} bytes discarded"
    return text


def show_summary(out: CommandOutput, title: str, summary: StreamSummary, loss: Loss, simulated: bool) -> None:
    """Results as a table, below why samples are lost: the results stay on the screen."""
    from rich.text import Text

    from edgesnn.cli.meter.losses import grouped
    from edgesnn.cli.tables import Sheet, words

    head = Text(f"{title}  {SIMULATED}" if simulated else title, style="bold")
    table = Sheet(head, words(""), words(""), ruled=False, header=False)
    for name, value in summary_rows(summary):
        table.add_row(name, value)
    table.add_row("samples", loss_line(loss))
    for reason in grouped(loss.reasons):
        out.print(Text(f"  {reason}", style="dim"))
    out.print(table)
    if summary.saturated:
        out.print(
            Text(
                f"{summary.saturated:,} samples are at the instrument's limit: the energy is a lower bound",
                style="yellow",
            )
        )


def nothing_measured(driver: str, results: Sequence[tuple[StreamSummary, Loss]]) -> EdgesnnError | None:
    """The error where no sample counts, with what the meter says of it; None where one does."""
    if any(summary.samples for summary, _ in results):
        return None
    from edgesnn.cli.meter.losses import grouped

    said = [summary.reason or "" for summary, _ in results[:1]]
    said += [reason for _, loss in results for reason in loss.reasons]
    kind = RecordingError if driver in ("csv", "replay") else MeterError
    return kind("nothing was measured", actual="; ".join(grouped(said, 4)) or "no sample came")


def summary_rows(summary: StreamSummary) -> list[tuple[str, str]]:
    """What a stream amounts to, line by line."""
    known = summary.uncertainty
    energy = quantity(summary.energy_j, "J", 6)
    charge = quantity(summary.charge_c, "C", 6)
    if known is not None and summary.energy_j:
        energy += f"  ± {known.expanded_j / abs(summary.energy_j):.2%} (95 %, {known.basis} figures)"
    if known is not None and summary.charge_c:
        charge += f"  ± {known.expanded_c / abs(summary.charge_c):.2%}"
    rows = [("energy", energy), ("charge", charge)]
    if summary.energy_j is None:
        rows[0] = ("energy", f"not known: {summary.reason}")
    rows += [
        ("mean power", quantity(summary.mean_w, "W")),
        ("lowest, highest", f"{quantity(summary.lowest_w, 'W')}, {quantity(summary.highest_w, 'W')}"),
        ("peak over 1 ms", quantity(summary.peak_w, "W")),
        (
            "p5, p50, p95, p99",
            ", ".join(quantity(one, "W", 3) for one in summary.percentiles_w.values()) or "-",
        ),
        ("measured", f"{summary.measured_s:.6g} s"),
    ]
    if summary.missing_s or summary.suspect_s:
        rows.append(
            ("not measured", f"{summary.missing_s:.6g} s without samples, {summary.suspect_s:.6g} s suspect")
        )
    if summary.marker_edges:
        edges = ", ".join(f"input {bit}: {count}" for bit, count in summary.marker_edges.items())
        rows.append(("marker rising edges", edges))
    return rows
