"""A teacher's answers to prompts as training text, with what it said at every position of them."""

from edgesnn.student.sampling.run import SampleProgress, Sampled, SampleSettings, sample_answers

__all__ = ["SampleProgress", "SampleSettings", "Sampled", "sample_answers"]
