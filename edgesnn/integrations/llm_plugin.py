"""A plug-in for the program and library ``llm``: the model ``edgesnn/reference``, or another student.

    llm -m edgesnn/reference "What is on my desk?"
    llm -m edgesnn/reference -o model bundle -o max_tokens 40 "Hello"
    llm -c "And you?"

Only ``llm`` (0.36 or later) imports this module, as its entry point; edgesnn itself never does.
"""

from __future__ import annotations

from collections.abc import Iterator

import llm
from llm.parts import TextPart
from pydantic import Field

from edgesnn.api.runtime.student import OpenStudent
from edgesnn.errors import EdgesnnError
from edgesnn.text.sampling import SamplingOptions


class EdgesnnOptions(llm.Options):  # type: ignore[misc]  # llm has no types
    """What ``-o`` takes."""

    model: str = Field("reference", description="A bundle or a student artifact.")
    target: str = Field("cpu", description="Where it runs.")
    max_tokens: int = Field(128, ge=0, description="Tokens of an answer at most.")
    temperature: float = Field(0.0, ge=0, description="0 takes the best token.")
    top_k: int = Field(0, ge=0, description="Only the best k tokens can be drawn; 0 for all.")
    top_p: float = Field(1.0, gt=0, le=1, description="Only the fewest best tokens of this probability.")
    seed: int = Field(0, ge=0, description="Seed of the draws.")


class EdgesnnModel(llm.Model):  # type: ignore[misc]  # llm has no types
    """A student as a model of ``llm``."""

    model_id = "edgesnn/reference"
    can_stream = True
    Options = EdgesnnOptions

    def __init__(self) -> None:
        self._open: dict[tuple[str, str], OpenStudent] = {}

    def execute(
        self,
        prompt: llm.Prompt,
        stream: bool,
        response: llm.Response,
        conversation: llm.Conversation | None,
    ) -> Iterator[str]:
        """The answer, piece by piece; a conversation is read again from its text.

        Args:
            prompt: What is asked, with the options.
            stream: Whether pieces are wanted as they are made; they are so in any case.
            response: Is told how many tokens were read and made.
            conversation: What was said before; it is part of the prompt's messages.

        Yields:
            Text.

        Raises:
            ModelError: The student, the target or an option is unusable, in edgesnn's words.
        """
        chosen = prompt.options
        try:
            student = self._student(chosen.model, chosen.target)
            options = SamplingOptions(chosen.temperature, chosen.top_k, chosen.top_p, chosen.seed)
            ids = student.chat_ids(_messages(prompt))
            made = student.generate(ids, options, max_tokens=chosen.max_tokens)
            try:
                for piece in made:
                    yield piece.text
            finally:
                made.close()
                response.set_usage(input=made.prompt_tokens, output=len(made.tokens))
        except EdgesnnError as error:
            raise llm.ModelError(error.sentence()) from error

    def _student(self, model: str, target: str) -> OpenStudent:
        if (model, target) not in self._open:
            self._open[model, target] = OpenStudent(model, target, runners=1)
        return self._open[model, target]


@llm.hookimpl  # type: ignore[untyped-decorator]  # llm has no types
def register_models(register: llm.RegisterModels) -> None:
    """Tell ``llm`` of the model."""
    register(EdgesnnModel(), aliases=("edgesnn",))


def _messages(prompt: llm.Prompt) -> list[tuple[str, str]]:
    """Role and text of all that the model is to see: what was said before, and this prompt."""
    said = []
    for message in prompt.messages:
        text = "".join(part.text for part in message.parts if isinstance(part, TextPart))
        said.append((message.role, text))
    return said
