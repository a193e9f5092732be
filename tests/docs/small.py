"""Less of the same: what makes commands and examples of the pages cheap without changing what they are."""

import pickle
import re
from pathlib import Path

from edgesnn import config, resources
from edgesnn.api import students, verification
from edgesnn.api.measuring import quality
from edgesnn.program.snn_format import program_hash
from edgesnn.whole_files import replace_file

#: Keys of a workload and what they are at most, so that a page asks for a look and not for a measurement.
AT_MOST = {
    "windows": 2, "min_window_seconds": 0.02, "min_window_tokens": 8, "warmup_tokens": 2, "first_tokens": 2,
    "activity_tokens": 16, "memory_probes": 0, "parity_tokens": 16, "accuracy_tokens": 1500,
    "metered_window_seconds": 0.3, "idle_seconds": 0.2, "generated_tokens": 8,
    "min_window_frames": 16, "activity_frames": 64, "accuracy_decisions": 300,
}  # fmt: skip


def smaller(profile: str) -> str:
    """The text of a profile whose workload is small; its budgets stay."""

    def least(found: re.Match) -> str:
        return f"{found[1]} = {min(AT_MOST[found[1]], float(found[2])):g}"

    text = re.sub(rf"^({'|'.join(AT_MOST)}) = ([\d.]+)", least, profile, flags=re.MULTILINE)
    return re.sub(r"^(\w+seconds) = (\d+)(?=\s)", r"\1 = \2.0", text, flags=re.MULTILINE)


def make_small(folder: Path, set_attribute=setattr) -> None:
    """Make this process do less: calibration, parity, shipped profiles.

    Args:
        folder: Where the smaller profiles are written.
        set_attribute: As `setattr`, for example of a monkeypatch.
    """
    shipped = resources.files
    below = folder / "profiles"
    below.mkdir(parents=True, exist_ok=True)
    for name, path in shipped("profiles").items():
        (below / f"{name}.toml").write_text(smaller(path.read_text("utf-8")), encoding="utf-8")

    def files(kind, *rest):
        return (
            {path.stem: path for path in sorted(below.glob("*.toml"))}
            if kind == "profiles"
            else shipped(kind, *rest)
        )

    whole = verification.parity_ids

    def parity_ids(*arguments):
        return [batch[:1, :16] for batch in whole(*arguments)]

    measured = quality.measure_accuracy

    def measure_accuracy(program, held_out, text, **options):
        """What golden scored once, it scores again: every page profiles the same student."""
        kept = folder / f"accuracy-{program_hash(program)}-{len(held_out.ids)}"
        if not kept.exists():
            replace_file(kept, pickle.dumps(measured(program, held_out, text, **options)))
        return pickle.loads(kept.read_bytes())

    set_attribute(quality, "measure_accuracy", measure_accuracy)
    set_attribute(config, "files", files)
    set_attribute(students, "CALIBRATION_TOKENS", 100)
    set_attribute(verification, "parity_ids", parity_ids)
