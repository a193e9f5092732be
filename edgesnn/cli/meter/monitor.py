"""``edgesnn meter monitor``: power, live, in the terminal."""

from __future__ import annotations

import functools
import math
import operator
import sys
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgesnn.cli.meter.show import (
    SIMULATED,
    Address,
    Power,
    identity,
    loss_line,
    nothing_measured,
    positive,
    quantity,
    settings_line,
    show_summary,
    until_interrupted,
)
from edgesnn.cli.output import CommandOutput, JsonFlag, session

if TYPE_CHECKING:
    from rich.console import Group

    from edgesnn.meters.base import Block, Loss
    from edgesnn.meters.capture import SegmentStart

SCHEMA = "edgesnn.meter-monitor/1"
FRAMES_PER_S = 10
_AXIS = 9
_WIDEST, _NARROWEST = 200, 20


def monitor(
    meter: Address,
    *,
    window: Annotated[float, typer.Option("--window", "-w", help="Seconds that the plot shows.")] = 5.0,
    duration: Annotated[
        float | None, typer.Option("--duration", "-d", help="Seconds; without it until Ctrl-C.")
    ] = None,
    height: Annotated[int, typer.Option(min=3, max=60, help="Rows of the plot.")] = 12,
    power: Power = True,
    json_mode: JsonFlag = False,
) -> None:
    """Show power as it is drawn: band from lowest to highest, so that no spike is lost, statistics, markers.

    Where stderr is no terminal nothing is drawn; the summary at the end comes all the same.

    Examples:
        edgesnn meter monitor 'sim:ppk2?voltage=3.7' --duration 5
    """
    with session("meter monitor", json_mode) as out:
        from edgesnn.meters.capture import Plan, capture
        from edgesnn.meters.opening import open_meter, settings_of
        from edgesnn.meters.samples.summary import loss_dict

        positive(window, "--window")
        positive(duration, "--duration")
        opened = open_meter(meter)
        plan = Plan(settings_of(meter), duration, power)
        screen = _Screen(out, window, height)
        try:
            with until_interrupted() as stopped, screen:
                for event in capture(opened, plan, stopped):
                    screen.take(event, opened.loss)
                interrupted = stopped()
        finally:
            if screen.begun is not None and screen.adder is not None:
                summary, simulated = screen.adder.result(), screen.begun.meter.simulated
                payload = {"simulated": simulated, **summary.as_dict(), "loss": loss_dict(opened.loss)}
                out.document(SCHEMA, payload)
                show_summary(out, identity(screen.begun.meter), summary, opened.loss, simulated)
        nothing = nothing_measured(screen.begun.meter.name if screen.begun else "", [(summary, opened.loss)])
        if nothing is not None and not interrupted:
            raise nothing


class _Screen:
    """The live picture; in a ``with`` statement."""

    def __init__(self, out: CommandOutput, window_s: float, rows: int) -> None:
        from rich.live import Live

        from edgesnn.meters.samples.envelope import PowerEnvelope

        self.begun: SegmentStart | None = None
        self.adder: Any = None
        console = out.stderr
        self._rows = rows
        width = min(max(console.width - _AXIS - 2, _NARROWEST), _WIDEST)
        self._envelope = PowerEnvelope(2 * width, window_s)
        self._window_s = window_s
        self._next = 0.0
        self._seen = 0
        self._live: Live | None = None
        if sys.stderr.isatty() and not out.json_mode:
            self._live = Live(console=console, auto_refresh=False, transient=True)

    def __enter__(self) -> _Screen:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def take(self, event: Any, loss: Loss) -> None:
        """Whatever comes from the capture; draws when a frame is due."""
        from edgesnn.meters.capture import SegmentEnd, SegmentStart
        from edgesnn.meters.samples.summary import Accumulator

        if isinstance(event, SegmentStart):
            self.begun = event
            self.adder = Accumulator(event.accuracy, event.settings.voltage_v)
            self._envelope.restart()
            return
        if isinstance(event, SegmentEnd):
            return
        self._add(event)
        now = time.monotonic()
        if self._live is not None and now >= self._next:
            self._live.update(self.picture(loss), refresh=True)
            self._next = max(self._next + 1 / FRAMES_PER_S, now)

    def picture(self, loss: Loss) -> Group:
        """The frame."""
        from rich.console import Group
        from rich.text import Text

        from edgesnn.meters.samples.envelope import axis_top, marker_row, plot

        assert self.begun is not None
        envelope = self._envelope
        top = axis_top(_highest(envelope.highest))
        lines = [Text(f"{identity(self.begun.meter)}  {settings_line(self.begun.settings)}", style="bold")]
        labels = {0: top, self._rows // 2: top * (1 - (self._rows // 2) / self._rows), self._rows - 1: 0.0}
        for number, row in enumerate(plot(envelope, self._rows, top)):
            label = quantity(labels[number], "W", 3) if number in labels else ""
            lines.append(Text.assemble((f"{label:>{_AXIS}} ", "dim"), (row, "cyan")))
        for bit in range(8):
            if self._seen >> bit & 1:
                lines.append(Text(f"{f'marker {bit}':>{_AXIS}} {marker_row(envelope, bit)}", style="magenta"))
        scale = f"{envelope.end_s - self._window_s:.1f} s"
        ends = f"{envelope.end_s:.1f} s"
        lines.append(
            Text(" " * (_AXIS + 1) + scale + ends.rjust(envelope.columns // 2 - len(scale)), style="dim")
        )
        return Group(*lines, *self._figures(loss))

    def _figures(self, loss: Loss) -> list[Any]:
        from rich.text import Text

        total = self.adder.result()
        mark = f"{SIMULATED}  " if self.begun is not None and self.begun.meter.simulated else ""
        known = total.uncertainty
        about = f" ± {known.expanded_j / total.energy_j:.1%}" if known and total.energy_j else ""
        return [
            Text(
                f"{mark}mean {quantity(total.mean_w, 'W')}{about}  lowest {quantity(total.lowest_w, 'W')}  "
                f"highest {quantity(total.highest_w, 'W')}  peak 1 ms {quantity(total.peak_w, 'W')}"
            ),
            Text(
                f"energy {quantity(total.energy_j, 'J')}  charge {quantity(total.charge_c, 'C')}  "
                f"in {total.measured_s:.1f} s"
            ),
            Text(f"samples {loss_line(loss)}", style="yellow" if loss.missing + loss.suspected else "dim"),
        ]

    def _add(self, block: Block) -> None:
        from edgesnn.meters.samples.summary import knows_power

        assert self.begun is not None
        self.adder.add(block)
        volts = self.begun.settings.voltage_v
        if knows_power(block, volts):
            self._envelope.add(block, block.watts(volts))
        if len(block):
            self._seen |= functools.reduce(operator.or_, set(block.markers.tolist()), 0)


def _highest(values: Any) -> float:
    return max((value for value in values.tolist() if not math.isnan(value)), default=0.0)
