"""Processor time of reading a meter at its full rate, against other programs that read it.

Run: ``python benchmarks/meters.py [ppk2] [--seconds 20]``; without a name every instrument. The instrument
is its twin (SIMULATED) in a process of its own behind a pseudo-terminal, in real time. Each reader runs
alone for that long, one after the other, and tells the processor time that it used. Other people's
programs run in their own environments (``tools/foreign_env.sh``) and are left out where those are absent.

An instrument is one function in `SECTIONS` and one twin in `TWINS`; our own reader is the same for all.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
LIMIT = 0.05
VOLTS = 3.7


def ppk2_twin() -> Any:
    from edgesnn.meters.ppk2.twin import Ppk2Twin
    from edgesnn.meters.twins.device import Conditions
    from edgesnn.meters.twins.load import square

    # idle and busy twenty times a second, in different ranges: the spike filter has work to do
    return Ppk2Twin(Conditions(square(0.002, 0.090, 0.05), noise_a=2e-6))


def ppk2(seconds: float) -> bool:
    ours("ppk2", seconds, rate_hz=100_000, record=False)
    met = ours("ppk2", seconds, rate_hz=100_000, record=True) < LIMIT
    clients = ROOT / "tests" / "foreign" / "clients"
    for name, script in (("ppk2lab", "use_ppk2lab.py"), ("ppk2-api", "use_ppk2_api.py")):
        foreign("ppk2", name, clients / script, [str(round(VOLTS * 1000)), str(seconds)], seconds)
    return met


TWINS: dict[str, Callable[[], Any]] = {"ppk2": ppk2_twin}
SECTIONS: dict[str, Callable[[float], bool]] = {"ppk2": ppk2}


@contextmanager
def served(instrument: str) -> Iterator[str]:
    """A twin in a process of its own; afterwards its processor time is printed."""
    command = [sys.executable, __file__, "--serve", instrument]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None and process.stdout is not None
        yield process.stdout.readline().strip()
        process.stdin.close()
        twin = json.loads(process.stdout.readline())
    print(f"    its twin used {twin['cpu']:.1%} of a core and threw away {twin['lost_pieces']} packets")


def serve(instrument: str) -> None:
    """Be the twin until standard input ends."""
    from edgesnn.meters.twins.pty import PtyTwin

    with PtyTwin(TWINS[instrument]()) as twin:
        print(twin.port, flush=True)
        cpu, wall = time.process_time(), time.monotonic()
        sys.stdin.read()
        used = (time.process_time() - cpu) / (time.monotonic() - wall)
        print(json.dumps({"cpu": used, "lost_pieces": twin.lost_pieces}), flush=True)


def ours(instrument: str, seconds: float, *, rate_hz: float, record: bool) -> float:
    """Run our reader; the share of a core that it used."""
    with served(instrument) as port:
        command = [sys.executable, __file__, "--read", f"{instrument}:{port}?rate={rate_hz:g}"]
        finished = subprocess.run(
            [*command, "--seconds", str(seconds), *(["--record"] if record else [])],
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        )
        result = json.loads(finished.stdout)
        what = "read, decoded, filtered" + (f", recorded ({result['bytes'] / 1e6:.1f} MB)" if record else "")
        print(
            f"edgesnn: {result['cpu']:.2%} of a core, {what}:"
            f" {result['samples'] / result['wall_s']:,.0f} samples/s in {result['reads']:.0f} reads/s,"
            f" {result['missing']} missing, {result['suspected']} suspected"
        )
    return float(result["cpu"])


def read(address: str, seconds: float, record: bool) -> None:
    """Be our reader: everything from the first sample on counts, the recorder's thread and close included."""
    from datetime import UTC, datetime

    from edgesnn.meters.address import MeterAddress
    from edgesnn.meters.base import Settings
    from edgesnn.meters.files.format import SegmentInfo
    from edgesnn.meters.files.recording import Recorder
    from edgesnn.plugins import load_meter

    parsed = MeterAddress.parse(address)
    with load_meter(parsed.name)(parsed) as meter, tempfile.TemporaryDirectory() as folder:
        info = meter.open()
        settings = meter.configure(parsed.settings().completed(Settings(voltage_v=VOLTS)))
        meter.power(True)
        meter.start()
        meter.read(5.0)
        recorder = Recorder(Path(folder) / "run.npz") if record else None
        if recorder is not None:
            plain = meter.accuracy.model_dump(mode="json")
            started = datetime.now(UTC).isoformat()
            recorder.begin_segment(
                SegmentInfo(info, settings, plain, tuple(meter.capabilities), started, time.monotonic_ns())
            )
        cpu, wall = time.process_time(), time.monotonic()
        samples = reads = 0
        while time.monotonic() - wall < seconds:
            block = meter.read(5.0)
            samples, reads = samples + len(block), reads + 1
            if recorder is not None:
                recorder.add(block, meter.loss)
        wall = time.monotonic() - wall
        if recorder is not None:
            recorder.end_segment(meter.loss)
            recorder.close()
        cpu = time.process_time() - cpu
        result = {
            "cpu": cpu / wall,
            "wall_s": wall,
            "samples": samples,
            "reads": reads / wall,
            "missing": meter.loss.missing,
            "suspected": meter.loss.suspected,
            "bytes": (Path(folder) / "run.npz").stat().st_size if recorder is not None else 0,
        }
    print(json.dumps(result))


def foreign(instrument: str, name: str, script: Path, arguments: list[str], seconds: float) -> None:
    """Run somebody else's reader: it gets the port, then the arguments, and prints JSON with ``cpu_s``."""
    interpreter = ROOT / ".foreign" / name / "bin" / "python"
    if not interpreter.exists():
        print(f"{name}: left out, there is no environment .foreign/{name}")
        return
    with served(instrument) as port:
        finished = subprocess.run(
            [interpreter, script, port, *arguments], check=True, stdout=subprocess.PIPE, text=True
        )
        result = json.loads(finished.stdout.splitlines()[-1])
        missing = "does not tell what is" if result["missing"] is None else result["missing"]
        print(
            f"{name}: {result['cpu_s'] / seconds:.1%} of a core, read and decoded:"
            f" {result['samples'] / seconds:,.0f} samples/s, {missing} missing"
        )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("instruments", nargs="*", help=", ".join(SECTIONS))
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    parser.add_argument("--read", help=argparse.SUPPRESS)
    parser.add_argument("--record", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        serve(arguments.serve)
        return 0
    if arguments.read:
        read(arguments.read, arguments.seconds, arguments.record)
        return 0
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, {arguments.seconds:g} s each")
    met = True
    for name in arguments.instruments or SECTIONS:
        print(f"== {name} (SIMULATED)")
        met = SECTIONS[name](arguments.seconds) and met
    print(f"limit {LIMIT:.0%} of a core, recorded: {'met' if met else 'EXCEEDED'}")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
