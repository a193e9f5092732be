"""Measure with ppk2-api (GPL): runs in its own environment only and prints one line of JSON.

Arguments: port, millivolts, seconds. Its own calls in the order of its example, its own arithmetic.
"""

import json
import sys
import time

from ppk2_api.ppk2_api import PPK2_API


def main() -> None:
    port, millivolts, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
    meter = PPK2_API(port)
    if not meter.get_modifiers():
        sys.exit("ppk2-api could not read the calibration")
    meter.use_source_meter()
    meter.set_source_voltage(millivolts)
    meter.toggle_DUT_power("ON")
    time.sleep(0.05)
    used = time.process_time()
    meter.start_measuring()
    end = time.monotonic() + seconds
    chunks = []
    while time.monotonic() < end:
        time.sleep(0.01)
        data = meter.get_data()
        if len(data) >= 4:  # it misreads a first chunk shorter than a sample
            chunks.append(data)
    meter.stop_measuring()
    microamperes: list[float] = []
    markers: list[int] = []
    for data in chunks:
        current, bits = meter.get_samples(data)
        microamperes += current
        markers += bits
    used = time.process_time() - used
    meter.toggle_DUT_power("OFF")
    mean_a = sum(microamperes) / len(microamperes) * 1e-6
    print(
        json.dumps(
            {
                "samples": len(microamperes),
                "charge_c": mean_a * len(microamperes) * 1e-5,
                "energy_j": mean_a * millivolts / 1000 * len(microamperes) * 1e-5,
                "marker_edges": sum(one != two for one, two in zip(markers, markers[1:], strict=False)),
                "missing": None,
                "cpu_s": used,
            }
        )
    )


if __name__ == "__main__":
    main()
