"""CPU time of decoding an LPM01A's stream: python benchmarks/meters_lpm01a.py [SECONDS].

The bytes are made beforehand; what is timed is the driver's decoder and clock alone, fed in the pieces in
which a port hands them out, in CPU seconds of this process. Share of a core is CPU time over the time that
the stream stands for. The second figure adds the whole driver over a pseudo-terminal, without the twin,
which runs in a process of its own.
"""

import json
import multiprocessing
import platform
import sys
import time

from edgesnn.meters.address import MeterAddress
from edgesnn.meters.base import Settings
from edgesnn.meters.lpm01a import protocol
from edgesnn.meters.lpm01a.driver import Lpm01aMeter
from edgesnn.meters.lpm01a.stream import stream_for
from edgesnn.meters.lpm01a.twin import Lpm01aTwin
from edgesnn.meters.twins.device import Conditions
from edgesnn.meters.twins.load import LoadStep, Shape
from edgesnn.meters.twins.pty import PtyTwin

LOAD = Shape((LoadStep(0.23, 0.012), LoadStep(0.14, 0.08, 1)), ripple_w=0.002, ripple_hz=37.0)
#: A port is read a hundred times a second.
READS_HZ = 100


def recorded(rate_hz, seconds):
    """Pieces of a stream as a port hands them out."""
    twin = Lpm01aTwin(Conditions(LOAD, noise_a=1e-5))
    form = "ascii_dec" if rate_hz <= protocol.ASCII_MAX_HZ else "bin_hexa"
    rate = protocol.RATES[rate_hz]
    twin.receive(f"htc\rformat {form}\rfreq {rate}\reventsrc d7 fal\rpwr on\rstart\r".encode(), 0.0)
    steps = int(seconds * READS_HZ)
    return [b"".join(twin.advance((step + 1) / READS_HZ)) for step in range(steps)]


def decode(rate_hz, seconds):
    """CPU share of a core of the decoder."""
    pieces, stream, samples = recorded(rate_hz, seconds), stream_for(rate_hz), 0
    began = time.process_time()
    for step, piece in enumerate(pieces):
        stream.feed(piece, (step + 1) / READS_HZ)
        while stream.clock.ready:
            samples += len(stream.clock.ready.popleft().current_a)
    spent = time.process_time() - began
    assert samples >= rate_hz * (seconds - 1.01) and not stream.clock.loss.missing
    return spent / seconds


def serve(pipe):
    with PtyTwin(Lpm01aTwin(Conditions(LOAD, noise_a=1e-5))) as twin:
        pipe.send(twin.port)
        pipe.recv()
        pipe.send(twin.truth().samples)


def whole(rate_hz, seconds):
    """CPU share of a core of the whole driver on a pseudo-terminal, and the share of samples lost."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=serve, args=(theirs,))
    process.start()
    try:
        with Lpm01aMeter(MeterAddress("lpm01a", ours.recv())) as meter:
            meter.open()
            meter.configure(Settings(voltage_v=3.3, rate_hz=rate_hz))
            meter.power(True)
            meter.start()
            began, wall = time.process_time(), time.monotonic()
            while time.monotonic() - wall < seconds:
                meter.read(5.0)
            spent, elapsed = time.process_time() - began, time.monotonic() - wall
            meter.stop()
            ours.send("done")
            return spent / elapsed, meter.loss.fraction
    finally:
        process.join()


def main():
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 20.0
    result = {"processor": platform.processor() or platform.machine(), "seconds": seconds, "simulated": True}
    for rate_hz in (1_000, 5_000, 20_000, 100_000):
        share, lost = whole(rate_hz, seconds)
        result[f"{rate_hz} Hz"] = {
            "decode_core_percent": round(100 * decode(rate_hz, seconds), 3),
            "driver_core_percent": round(100 * share, 2),
            "lost_percent": round(100 * lost, 4),
        }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
