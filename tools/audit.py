"""Asks the database of PyPI for known weaknesses of the versions in constraints.txt.

    python tools/audit.py

A finding ends with exit code 1. Where the database cannot be reached nothing was looked at: that is said, and
ends with 0, because a build without a network is no worse than it was.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def main() -> int:
    """Ask, and say what was looked at."""
    command = [sys.executable, "-m", "pip_audit", "--requirement", str(ROOT / "constraints.txt"), "--no-deps"]
    command += ["--disable-pip", "--format", "json", "--progress-spinner", "off", "--timeout", "5"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        packages = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        print(f"warning: nothing was audited: {(done.stderr.strip().splitlines() or ['no answer'])[-1]}")
        return 0
    skipped = [package["name"] for package in packages if "skip_reason" in package]
    weak = [package for package in packages if package.get("vulns")]
    for package in weak:
        for found in package["vulns"]:
            fixed = ", ".join(found["fix_versions"]) or "no version"
            print(f"{package['name']} {package['version']}: {found['id']}, mended in {fixed}")
    print(f"{len(packages) - len(skipped)} packages audited, {len(skipped)} not found, {len(weak)} weak")
    if skipped and len(skipped) == len(packages):
        print("warning: nothing was audited: the database cannot be reached, or knows none of them")
    return 1 if weak else 0


if __name__ == "__main__":
    sys.exit(main())
