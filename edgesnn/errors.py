"""One tree of errors; the exit code of the command line hangs on its branches.

    EdgesnnError
    ├── UserError                exit 1   the input is wrong: model, text, file
    │   ├── ArtifactError                 student artifact: missing file, wrong shape, NaN
    │   ├── CompileError                  a student that has no exact integer program
    │   ├── NetworkError                  a network of another library that cannot enter
    │   ├── ProgramFormatError            program.snn: magic, size, CRC, version
    │   ├── BundleError                   manifest, hash, path, file
    │   ├── ExportError                   a format that cannot carry the program
    │   ├── TextError                     tokenizer, token id, text
    │   ├── FramesError                   frames: shape, type, samples out of range
    │   ├── TrainingError                 data, divergence, checkpoint
    │   ├── RecordError                   run record: schema, version
    │   ├── RecordingError                recording or trace of a meter: format, columns, damage
    │   ├── OutputError                   a path that cannot be written
    │   ├── PluginError                   an entry point that does not load
    │   └── MissingExtraError             an optional package that is not installed
    ├── UsageError               exit 2   the command is wrong: flag, name, configuration
    │   └── ConfigError                   TOML: unknown key, wrong type, value out of range
    ├── GateError                exit 3   a gate failed
    │   ├── ParityError                   logits differ from golden
    │   └── FitError                      a network breaks a limit of a chip
    ├── DeviceError              exit 4   a device or meter failed
    │   ├── RunnerError                   the engine refused or died
    │   └── MeterError                    no such meter, wrong device, not permitted
    │       ├── MeterBusyError            another process owns it
    │       ├── MeterTimeoutError         nothing came before the deadline
    │       ├── MeterUnpluggedError       it is gone
    │       ├── MeterEndedError           a recording that plays the meter has no more samples
    │       └── MeterProtocolError        what came is not its stream, or it reports a fault
    ├── InternalError            exit 5   a bug of ours
    └── UndecidedError           exit 6   a required budget was not measured

Every error is one sentence of what is wrong, then the actual value, the limit it met and the remedy,
each only where it exists.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

EXIT_OK = 0
EXIT_INTERRUPTED = 130


class EdgesnnError(Exception):
    """Base of every error a user can meet.

    Args:
        what: One sentence that says what is wrong, naming the object.
        actual: The value that was found, if one was.
        limit: The value or rule that it should have met.
        remedy: What the user can do about it.

    Examples:
        >>> try:
        ...     edgesnn.open_bundle("nowhere")
        ... except edgesnn.EdgesnnError as error:
        ...     error.what, error.remedy, error.exit_code
        ("bundle 'nowhere' does not exist", 'edgesnn export ARTIFACT -o BUNDLE', 1)
    """

    exit_code: ClassVar[int] = 5
    code: ClassVar[str] = "error"

    def __init__(
        self,
        what: str,
        *,
        actual: object | None = None,
        limit: object | None = None,
        remedy: str | None = None,
    ) -> None:
        self.what = what
        self.actual = None if actual is None else str(actual)
        self.limit = None if limit is None else str(limit)
        self.remedy = remedy
        super().__init__(self.sentence())

    def sentence(self) -> str:
        """The whole error as one line of text."""
        parts = [self.what]
        if self.actual is not None:
            parts.append(f"actual: {self.actual}")
        if self.limit is not None:
            parts.append(f"limit: {self.limit}")
        if self.remedy is not None:
            parts.append(f"remedy: {self.remedy}")
        return "; ".join(parts)

    def as_dict(self) -> dict[str, str | int | None]:
        """The error as plain data for ``--json``."""
        return {
            "code": self.code,
            "what": self.what,
            "actual": self.actual,
            "limit": self.limit,
            "remedy": self.remedy,
            "exit_code": self.exit_code,
        }


class UserError(EdgesnnError):
    """The input is wrong."""

    exit_code = 1
    code = "user"


class ArtifactError(UserError):
    """A student artifact is missing, incomplete or inconsistent."""

    code = "artifact"


class CompileError(UserError):
    """A student has no exact integer program."""

    code = "compile"


class NetworkError(UserError):
    """A network of another library cannot become an integer program.

    Args:
        source: What was read.
        problems: Every reason, each beginning with the node that it is about.
        limit: The value or rule that was broken, where one holds for all.
        remedy: What the user can do about it.
    """

    code = "network"

    def __init__(
        self,
        source: object,
        problems: Sequence[str],
        *,
        limit: object | None = None,
        remedy: str | None = None,
    ) -> None:
        self.problems = tuple(problems)
        count = f"{len(problems)} reasons" if len(problems) > 1 else "1 reason"
        listed = [f"({i}) {one}" for i, one in enumerate(problems, 1)] if len(problems) > 1 else problems
        super().__init__(
            f"'{source}' cannot be imported, for {count}", actual=" ".join(listed), limit=limit, remedy=remedy
        )


class ProgramFormatError(UserError):
    """A ``program.snn`` breaks the format."""

    code = "program-format"


class BundleError(UserError):
    """A bundle's manifest or files are not what they claim."""

    code = "bundle"


class ExportError(UserError):
    """A format cannot carry this program."""

    code = "export"


class TextError(UserError):
    """Text, tokenizer or token ids are unusable."""

    code = "text"


class FramesError(UserError):
    """Frames are unusable."""

    code = "frames"


class TrainingError(UserError):
    """Training cannot start or go on."""

    code = "training"


class RecordError(UserError):
    """A run record breaks its schema."""

    code = "record"


class RecordingError(UserError):
    """A recording or a trace of a meter cannot be used."""

    code = "recording"


class OutputError(UserError):
    """A path cannot be written."""

    code = "output"


class PluginError(UserError):
    """An entry point does not load."""

    code = "plugin"


class MissingExtraError(UserError):
    """An optional package is not installed."""

    code = "missing-extra"


class UsageError(EdgesnnError):
    """The command is wrong."""

    exit_code = 2
    code = "usage"


class ConfigError(UsageError):
    """A configuration file is wrong."""

    code = "config"


class GateError(EdgesnnError):
    """A gate failed."""

    exit_code = 3
    code = "gate"


class ParityError(GateError):
    """An engine's logits differ from golden."""

    code = "parity"


class FitError(GateError):
    """A network breaks a limit of a chip."""

    code = "fit"


class DeviceError(EdgesnnError):
    """A device or meter failed."""

    exit_code = 4
    code = "device"


class RunnerError(DeviceError):
    """An engine refused the model or died while running it."""

    code = "runner"


class MeterError(DeviceError):
    """A meter cannot be used."""

    code = "meter"


class MeterBusyError(MeterError):
    """Another process owns the meter."""

    code = "meter-busy"


class MeterTimeoutError(MeterError):
    """A meter sent nothing before the deadline."""

    code = "meter-timeout"


class MeterUnpluggedError(MeterError):
    """A meter went away while it was in use."""

    code = "meter-unplugged"


class MeterEndedError(MeterError):
    """A recording that stands in for a meter has come to its end."""

    code = "meter-ended"


class MeterProtocolError(MeterError):
    """A meter sent something that its protocol does not allow, or reports a fault."""

    code = "meter-protocol"


class InternalError(EdgesnnError):
    """A bug of edgesnn."""

    exit_code = 5
    code = "internal"


class UndecidedError(EdgesnnError):
    """A required budget could not be decided."""

    exit_code = 6
    code = "undecided"


def missing_extra(package: str, extra: str, purpose: str) -> MissingExtraError:
    """The error for an optional package that is not installed.

    Args:
        package: Import name of the package.
        extra: The extra of edgesnn that brings it.
        purpose: What needs it, as the subject of a sentence.

    Returns:
        The error, ready to raise.
    """
    return MissingExtraError(
        f"{purpose} needs the package '{package}', which is not installed",
        remedy=f"pip install 'edgesnn[{extra}]'",
    )
