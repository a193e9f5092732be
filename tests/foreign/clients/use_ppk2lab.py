"""Measure with ppk2lab (MIT): runs in its own environment and prints one line of JSON.

Arguments: port, millivolts, seconds.
"""

import json
import sys
import time

from ppk2lab.analysis.measure import measure_window
from ppk2lab.device import PPK2
from ppk2lab.types import Mode


def main() -> None:
    port, millivolts, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
    device = PPK2.open(port=port)
    try:
        device.set_mode(Mode.SOURCE)
        device.set_source_voltage_mv(millivolts)
        device.set_dut_power(True)
        used = time.process_time()
        capture = device.capture(duration_s=seconds).capture
        window = measure_window(capture)
        used = time.process_time() - used
        levels = capture.logic_bytes()
    finally:
        device.close()
    print(
        json.dumps(
            {
                "samples": capture.stored_count,
                "charge_c": window.charge_uc * 1e-6,
                "energy_j": window.energy_uj * 1e-6,
                "marker_edges": sum(one != two for one, two in zip(levels, levels[1:], strict=False)),
                "missing": capture.missing_known,
                "cpu_s": used,
            }
        )
    )


if __name__ == "__main__":
    main()
