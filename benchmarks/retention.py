"""A student beside its teacher on any text: bits per byte, top-1 and retention, float and integer.

    python benchmarks/retention.py TEXT [STUDENT] [--positions N] [--cache FOLDER]

TEXT is a file of JSON lines (``prompt``, ``response``) or plain text, or a folder of ``edgesnn sample``, with
what the teacher expected. STUDENT is a distilled artifact; the reference student by default. The teacher is
asked once; its answers stay in FOLDER. Figures of reference/README.md.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from edgesnn.api.students import compile_student, student_folder
from edgesnn.bundle.bundle import EvalSlice
from edgesnn.profiler.quality.accuracy import measure_accuracy
from edgesnn.profiler.results import Absent
from edgesnn.student.artifact.evaluate import EvalDocuments as ScoredSlice
from edgesnn.student.artifact.evaluate import evaluate
from edgesnn.student.artifact.files import load_student, read_metadata
from edgesnn.student.sampling.parts import ROWS_FOLDER
from edgesnn.student.teacher.cache import MANIFEST_FILE, TeacherCache
from edgesnn.student.teacher.loading import load_teacher, trim_for
from edgesnn.student.teacher.passes import PassSettings, run_teacher
from edgesnn.student.teacher.retention import eval_arrays
from edgesnn.student.text.data import by_hash
from edgesnn.student.text.reading import read_documents
from tests.support.teacher_quality import teacher_quality


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("text", type=Path)
    parser.add_argument("student", nargs="?", type=Path, default=Path("reference"))
    parser.add_argument("--positions", type=int, default=20_000)
    parser.add_argument("--cache", type=Path, default=Path("build/retention"))
    given = parser.parse_args()
    path = student_folder(given.student)
    arrays = eval_arrays(ask(path, given.text, given.cache / given.text.stem, given.positions))
    teacher = teacher_quality(arrays)
    print(f"{given.text.name}: {teacher.documents} documents, {teacher.positions:,} positions")
    print(f"{'teacher':10} {teacher.bits_per_byte:.3f} bits/byte  top-1 {teacher.top1:.1%}")
    model, _ = load_student(path)
    found = evaluate(model, ScoredSlice(**arrays)).as_dict()
    print(f"{'float32':10} {found['bits_per_byte']:.3f} bits/byte  top-1 {found['student_top1']:.1%}", end="")
    print(f"  retention {found['retention']:.1%}")
    program = compile_student(path)[2].program
    names = ("ids", "doc_starts", "doc_bytes", "positions", "teacher_top1")
    integer = measure_accuracy(program, EvalSlice(**{name: arrays[name] for name in names}), given.text.name)
    assert not isinstance(integer, Absent)
    low, high = integer.retention_interval or (float("nan"), float("nan"))
    print(f"{'integer':10} {integer.bits_per_byte:.3f} bits/byte  retention {integer.retention:.1%}", end="")
    print(f" [{low:.1%}, {high:.1%}], 95 % by document")


def ask(student: Path, text: Path, folder: Path, positions: int) -> TeacherCache:
    """The teacher's answers on a text; a finished cache is used again. A sampled folder brings one."""
    if text.is_dir():
        return TeacherCache.open(text / ROWS_FOLDER)
    if (folder / MANIFEST_FILE).is_file() and TeacherCache.open(folder).complete:
        return TeacherCache.open(folder)
    config = read_metadata(student)["config"]
    teacher = load_teacher(config["teacher_model"], system=config["system_prompt"])
    trimmed = trim_for(teacher, config["vocab_size"])
    settings = PassSettings(tau=config["temperature"], max_length=config["max_length"], limit=positions)
    return run_teacher(teacher, trimmed, by_hash(read_documents(text).documents), folder, settings)


if __name__ == "__main__":
    main()
