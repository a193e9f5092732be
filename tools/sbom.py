"""Writes sbom.cdx.json, the software bill of materials that the wheel carries (PEP 770, CycloneDX 1.6).

    python tools/sbom.py           # writes it
    python tools/sbom.py --check   # exit code 1 where it is not what this script would write

It names what the wheel contains that others made, and what edgesnn needs to run, with the version ranges of
pyproject.toml. Versions that are tested together stand in constraints.txt.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
FILE = ROOT / "sbom.cdx.json"
DERIVED = ("reference/tokenizer.json", "reference/trimming.npz")


def component(requirement: str) -> dict[str, Any]:
    """A dependency as CycloneDX names it: a library with a package URL, its version range as a property."""
    found = re.match(r"([A-Za-z0-9._-]+)\s*(.*)", requirement)
    assert found is not None, requirement
    name, versions = found[1].lower(), found[2]
    return {
        "type": "library",
        "bom-ref": f"pkg:pypi/{name}",
        "name": name,
        "purl": f"pkg:pypi/{name}",
        "scope": "required",
        "properties": [{"name": "edgesnn:versions", "value": versions}],
    }


def document() -> dict[str, Any]:
    """The whole bill."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    libraries = [component(requirement) for requirement in project["dependencies"]]
    data = {
        "type": "data",
        "bom-ref": "smollm2-tokenizer",
        "name": "parts of the tokenizer of SmolLM2-135M-Instruct",
        "publisher": "Hugging Face TB",
        "licenses": [{"license": {"id": "Apache-2.0"}}],
        "description": "derived; what was changed stands in reference/NOTICE",
        "components": [
            {
                "type": "file",
                "name": name,
                "hashes": [
                    {"alg": "SHA-256", "content": hashlib.sha256((ROOT / name).read_bytes()).hexdigest()}
                ],
            }
            for name in DERIVED
        ],
    }
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "component": {
                "type": "application",
                "bom-ref": "edgesnn",
                "name": project["name"],
                "version": project["version"],
                "licenses": [{"license": {"id": project["license"]}}],
            }
        },
        "components": [data, *libraries],
        "dependencies": [{"ref": "edgesnn", "dependsOn": [item["bom-ref"] for item in [data, *libraries]]}],
    }


def main() -> int:
    """Write or check."""
    text = json.dumps(document(), indent=2) + "\n"
    if "--check" not in sys.argv:
        FILE.write_text(text, "utf-8")
        return 0
    if FILE.is_file() and FILE.read_text("utf-8") == text:
        return 0
    print(f"{FILE.name} is stale: run python tools/sbom.py", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
