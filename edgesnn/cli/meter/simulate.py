"""``edgesnn meter simulate``: an instrument that is not there, on a port that is."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgesnn.cli.meter.show import SIMULATED, positive, quantity, until_interrupted
from edgesnn.cli.output import CommandOutput, JsonFlag, session
from edgesnn.errors import OutputError

if TYPE_CHECKING:
    from edgesnn.meters.sim import RunningTwin
    from edgesnn.meters.twins.catalogue import TwinEntry
    from edgesnn.meters.twins.device import Truth

SCHEMA = "edgesnn.meter-simulate/1"
_POLL_S = 0.1


def simulate(
    instrument: Annotated[str, typer.Argument(help="ppk2, lpm01a, ina228 or scpi.", show_default=False)],
    *,
    load: Annotated[
        str,
        typer.Option(
            help="What is drawn: constant:50m, square:low=10m,high=80m,period=0.5, "
            "steps:at=10m/0.4;80m/0.1/1, recording:FILE or live:PORT. Watts and seconds."
        ),
    ] = "square:low=10m,high=80m,period=0.5",
    fault: Annotated[
        list[str] | None,
        typer.Option(
            help="KIND@SECONDS:AMOUNT, repeatable: drop-bytes, duplicate-bytes, corrupt-bytes, drop-samples, "
            "stall (seconds), unplug (seconds; 0 for ever)."
        ),
    ] = None,
    gain: Annotated[float, typer.Option(help="Relative error of the gain: 0.02 reads 2 % high.")] = 0.0,
    offset: Annotated[float, typer.Option(help="Error of the offset, amperes.")] = 0.0,
    noise: Annotated[float, typer.Option(help="White noise of a sample, amperes.")] = 0.0,
    clock_ppm: Annotated[float, typer.Option(help="Error of the sample clock, parts per million.")] = 0.0,
    supply: Annotated[float, typer.Option(help="Volts at the device, where the meter feeds it not.")] = 3.7,
    seed: Annotated[int, typer.Option(help="Seed of noise and faults.")] = 0,
    seconds: Annotated[
        float | None, typer.Option("--seconds", "-s", help="End after so long; without it at Ctrl-C.")
    ] = None,
    link: Annotated[
        Path | None, typer.Option(help="Also give the port this name (a symbolic link), for scripts.")
    ] = None,
    json_mode: JsonFlag = False,
) -> None:
    """Simulate an instrument behind a pseudo-terminal, for this tool and for other people's software.

    It speaks the instrument's own protocol, draws a load whose energy is known, keeps what the host does not
    fetch in a buffer as small as the real one, and can be damaged on purpose. At the end it tells the truth:
    what was really drawn while it was last streamed from. The port and the next command are on stderr.

    Examples:
        edgesnn meter simulate ppk2 --seconds 60
        edgesnn meter simulate ina228 --load constant:50m --link /tmp/ina
    """
    with session("meter simulate", json_mode) as out:
        from edgesnn.meters.sim import RunningTwin
        from edgesnn.meters.twins.catalogue import twin_entry

        positive(seconds, "--seconds")
        options = {
            "load": load,
            "fault": ",".join(fault or []),
            "gain": repr(gain),
            "offset": repr(offset),
            "noise": repr(noise),
            "ppm": repr(clock_ppm),
            "supply": repr(supply),
            "seed": str(seed),
        }
        entry = twin_entry(instrument)
        with until_interrupted() as stopped, RunningTwin(entry, options) as twin:
            name = _link(link, twin)
            try:
                _tell(twin, entry, str(name or twin.port))
                _wait(out, twin, seconds, stopped)
            finally:
                if name is not None:
                    name.unlink(missing_ok=True)
            truth, lost = twin.truth(), twin.lost_pieces
            feed = _feed(twin)
        _report(out, instrument=instrument, load=load, truth=truth, lost=lost, feed=feed)


def _link(path: Path | None, twin: RunningTwin) -> Path | None:
    """Give the port another name.

    Raises:
        OutputError: The name is taken.
    """
    if path is None:
        return None
    try:
        path.symlink_to(twin.port)
    except OSError as error:
        raise OutputError(f"cannot make the link '{path}'", actual=error.strerror or str(error)) from None
    return path


def _tell(twin: RunningTwin, entry: TwinEntry, port: str) -> None:
    """The port and the next command; also in JSON mode, because without the port it is of no use."""
    address = entry.address(port)
    lines = [
        f"{SIMULATED} {entry.driver} on {port}",
        f"try: edgesnn meter record '{address}' -o trace.npz --duration 5",
        f"or:  edgesnn meter monitor '{address}'",
    ]
    feed = _feed(twin)
    if feed is not None:
        lines.append(f"load: JSON lines to 127.0.0.1:{feed['port']}")
    for line in lines:
        print(line, file=sys.stderr, flush=True)


def _wait(out: CommandOutput, twin: RunningTwin, seconds: float | None, stopped: Callable[[], bool]) -> None:
    """Let it run, and show what it draws where somebody watches."""
    from rich.live import Live
    from rich.text import Text

    live: Any = None
    if sys.stderr.isatty() and not out.json_mode:
        live = Live(console=out.stderr, auto_refresh=False, transient=True)
        live.start()
    end = float("inf") if seconds is None else time.monotonic() + seconds
    before = twin.truth()
    try:
        while not stopped() and time.monotonic() < end:
            time.sleep(min(_POLL_S, max(end - time.monotonic(), 0.0)))
            now = twin.truth()
            if live is not None:
                live.update(Text(_line(now, before, twin.lost_pieces)), refresh=True)
            before = now
    finally:
        if live is not None:
            live.stop()


def _line(now: Truth, before: Truth, lost: int) -> str:
    """What is drawn at the moment."""
    if now.samples == before.samples or now.start_s != before.start_s:
        state = "nobody streams" if now.samples == before.samples else "a stream begins"
    else:
        watts = (now.energy_j - before.energy_j) / (now.stop_s - before.stop_s)
        state = f"draws {quantity(watts, 'W')}"
    return (
        f"{SIMULATED}  {state}; since the stream began {now.stop_s - now.start_s:.1f} s, "
        f"{quantity(now.energy_j, 'J', 6)}, {now.samples:,} samples, {lost:,} pieces lost in the full buffer"
    )


def _feed(twin: RunningTwin) -> dict[str, int] | None:
    from edgesnn.meters.twins.live import LiveLoad

    load = twin.load
    if not isinstance(load, LiveLoad):
        return None
    return {"port": load.port, "lines": load.lines, "late": load.late, "refused": load.refused}


def _report(
    out: CommandOutput, *, instrument: str, load: str, truth: Truth, lost: int, feed: dict[str, int] | None
) -> None:
    from rich.text import Text

    seconds = truth.stop_s - truth.start_s
    out.document(
        SCHEMA,
        {
            "instrument": instrument,
            "simulated": True,
            "load": load,
            "truth": {
                "seconds": seconds,
                "energy_j": truth.energy_j,
                "charge_c": truth.charge_c,
                "samples": truth.samples,
            },
            "lost_pieces": lost,
            "live_load": feed,
        },
    )
    if not truth.samples:
        out.print(Text(f"{SIMULATED}  nobody streamed from it"))
        return
    out.print(Text(f"{SIMULATED}  the truth about the last stream:", style="bold"))
    out.print(Text(f"energy      {quantity(truth.energy_j, 'J', 8)}"))
    out.print(Text(f"charge      {quantity(truth.charge_c, 'C', 8)}"))
    out.print(Text(f"mean power  {quantity(truth.energy_j / seconds, 'W', 6)} over {seconds:.6f} s"))
    out.print(Text(f"samples     {truth.samples:,}, {lost:,} pieces lost because the host came late"))
    if feed is not None:
        out.print(
            Text(f"live load   {feed['lines']:,} lines, {feed['late']:,} late, {feed['refused']:,} refused")
        )
