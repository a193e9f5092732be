"""Lets the LPM01A code of a checkout of mlcommons/tiny measure our twin, and compares energies. By hand.

    python tests/foreign/mlcommons_lpm01a.py TINY [SECONDS]

TINY is the checkout's folder. Its runner sets the meter up in its own way (``output energy``, 1 kHz, events
on D7), sums the joules that it read, and must agree with the twin's truth to 0.1 %. The interpreter needs
edgesnn and pyserial. The exit code is 0 when everything agrees.
"""

import re
import sys
import time
from pathlib import Path

from edgesnn.meters.lpm01a.twin import Lpm01aTwin
from edgesnn.meters.twins.device import Conditions
from edgesnn.meters.twins.load import square
from edgesnn.meters.twins.pty import PtyTwin

#: The runner's own expressions (benchmark/runner/script.py).
STAMP = re.compile(r"^TimeStamp:[ ><]([0-9]{3})s ([0-9]{3})ms, buff [0-9]{2}%$")
EVENT = re.compile(r"event (\d+) ris")


def main(tiny, seconds="5"):
    sys.path.insert(0, str(Path(tiny) / "benchmark" / "runner"))
    from power_manager.power_manager import PowerManager

    with PtyTwin(Lpm01aTwin(Conditions(square(0.02, 0.09, 0.5)))) as twin:
        manager = PowerManager("lpm01a", port_device=twin.port, baud_rate=3_686_400, voltage=3.3)
        try:
            version = manager.get_version()
            ready = manager.power_on()[0] and manager.start()[0]
            time.sleep(float(seconds))
            manager.stop()
            truth = twin.truth()
            results = list(manager.get_results())
        finally:
            manager.__exit__()
    joules = [one for one in results if isinstance(one, float)]
    stamps = [one for one in results if isinstance(one, str) and one.startswith("TimeStamp")]
    events = [int(EVENT.match(one)[1]) for one in results if isinstance(one, str) and EVENT.match(one)]
    difference = sum(joules) / truth.energy_j - 1
    print(f"SIMULATED; the runner asked for the version and took {version!r}")
    print(f"samples {len(joules)} of {truth.samples}; stamps {len(stamps)}; events {events}")
    print(f"energy {sum(joules):.6f} J, truth {truth.energy_j:.6f} J, difference {difference:+.2e}")
    agrees = (
        ready
        and len(joules) == truth.samples
        and all(STAMP.match(one) for one in stamps)
        and events == list(range(len(events)))
        and len(events) > 0
        and abs(difference) < 1e-3
    )
    print("agrees" if agrees else "DOES NOT AGREE")
    return 0 if agrees else 3


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
