"""A teacher's answers to prompts as training text, with what it said at every position of them."""

from edgesnn.student.sampling.draw import DrawSettings
from edgesnn.student.sampling.parts import sampled_teacher
from edgesnn.student.sampling.run import Sampled, SampleProgress, SampleSettings, sample_answers, sample_file

__all__ = [
    "DrawSettings",
    "SampleProgress",
    "SampleSettings",
    "Sampled",
    "sample_answers",
    "sample_file",
    "sampled_teacher",
]
