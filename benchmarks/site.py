"""A static site over 10,000 run records: time, and size of the largest page.

Run: ``python benchmarks/site.py``. ``--series N`` spreads the runs over N targets. The records are synthetic
(tests/support/page_records.py), padded with quantities to about the size of real ones (45 kB).
Limits: 60 s, 1 MB for every page.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from edgesnn.reports.html.site import write_site
from tests.support import page_records as records

LIMIT_S = 60.0
LIMIT_BYTES = 1_000_000
START = datetime(2024, 1, 1, tzinfo=UTC)
PADDING = 110  # quantities that bring a record to 45 kB


def write_runs(folder: Path, count: int, series: int) -> int:
    """Write records, and give the size of one."""
    rng = random.Random(1)
    size = 0
    for index in range(count):
        p95_ms = 8.0 * rng.lognormvariate(0.0, 0.02) * (1.1 if index > 0.7 * count else 1.0)
        found = records.document(
            target=f"target-{index % series}",
            created=(START + timedelta(hours=index)).isoformat(),
            commit=f"{rng.getrandbits(160):040x}",
            p95_ms=p95_ms,
        )
        more = {f"padding.{i}": found["quantities"]["latency.p95"] for i in range(PADDING)}
        found["quantities"] = {**found["quantities"], **more}
        text = json.dumps(found, indent=2)
        (folder / f"run-{index:05d}.json").write_text(text, encoding="utf-8")
        size = len(text)
    return size


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--series", type=int, default=20)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="edgesnn-site-") as name:
        folder = Path(name)
        size = write_runs(folder, arguments.runs, arguments.series)
        wall, busy = time.perf_counter(), time.process_time()
        made = write_site(folder, folder / "site")
        wall, busy = time.perf_counter() - wall, time.process_time() - busy
        pages = {page: page.stat().st_size for page in (folder / "site").rglob("*.html")}
    largest = max(pages.values())
    print(f"{made.runs:,} runs of {size / 1e3:.0f} kB, {made.series:,} series, {made.pages:,} pages")
    print(f"time: {wall:.1f} s, {busy:.1f} s of them on the processor; limit {LIMIT_S:.0f} s")
    print(f"largest page: {largest / 1e3:.0f} kB; all pages {sum(pages.values()) / 1e6:.1f} MB")
    print("limits met" if wall < LIMIT_S and largest < LIMIT_BYTES else "limits EXCEEDED")


if __name__ == "__main__":
    main()
