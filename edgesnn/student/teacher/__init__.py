"""Teachers: loading them, running them once over a text, and keeping what they said."""

from __future__ import annotations

from edgesnn.student.teacher.cache import CacheKey, TeacherCache
from edgesnn.student.teacher.loading import Teacher, load_teacher, trim_for
from edgesnn.student.teacher.passes import PassProgress, PassSettings, run_teacher

__all__ = [
    "CacheKey",
    "PassProgress",
    "PassSettings",
    "Teacher",
    "TeacherCache",
    "load_teacher",
    "run_teacher",
    "trim_for",
]
