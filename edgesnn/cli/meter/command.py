"""``edgesnn meter``: power meters. Each command has a file of its own; this one joins them."""

from __future__ import annotations

import typer

from edgesnn.cli.meter.calibrate import calibrate
from edgesnn.cli.meter.info import info
from edgesnn.cli.meter.monitor import monitor
from edgesnn.cli.meter.record import record
from edgesnn.cli.meter.simulate import simulate

meter = typer.Typer(
    help="Show, monitor, record, calibrate and simulate power meters. Every command takes --json.\n\n"
    "A meter is named by one address: NAME, NAME:SERIAL or NAME:PORT, with options after a question mark, "
    "for example 'ppk2:/dev/ttyACM0?voltage=3.7', 'sim:ppk2?voltage=3.7' or 'replay:trace.npz'.\n\n"
    "Examples:\n"
    "    edgesnn meter info sim:ppk2\n"
    "    edgesnn meter record 'ppk2?voltage=3.7' -o trace.npz -d 10\n",
    no_args_is_help=True,
)
meter.command("info", short_help="Say what an instrument is and how accurate.")(info)
meter.command("monitor", short_help="Plot power live in the terminal.")(monitor)
meter.command("record", short_help="Record samples into a file.")(record)
meter.command("simulate", short_help="Make a simulated instrument on a port.")(simulate)
meter.command("calibrate", short_help="Compare an instrument with a known load or a better meter.")(calibrate)
