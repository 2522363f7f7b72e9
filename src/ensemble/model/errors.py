"""Every error a person can meet, as one tree.

EnsembleError                  anything this package raises on purpose
├── InputError                 what was given cannot be used (exit code 2)
│   ├── FileError              the file cannot be read: missing, empty, a directory, not UTF-8
│   ├── SpecError              the file says something impossible; holds every `Problem` found
│   ├── ExpressionError        a condition or placeholder that does not parse; holds the column
│   ├── UnknownRun             no run of that name or path
│   └── Refused                what was asked of a run was not done; says why
├── JournalError               the journal cannot be written or read
│   ├── JournalCorrupt         a bad record in the middle; names it, `ensemble journal repair` mends it
│   ├── JournalFull            no room: the reserve was used to say so
│   └── Fenced                 a newer writer has taken this run over
├── MemberError                a back end failed; `transient` says whether trying again can help
│   └── MemberUnavailable      the back end is not installed here
├── ArtifactError              a registry failed, refused, or holds something else than what was pushed
└── InvariantError             a bug of ours: `check()` found the engine's state inconsistent
"""

from __future__ import annotations

__all__ = [
    "ArtifactError",
    "EnsembleError",
    "ExpressionError",
    "Fenced",
    "FileError",
    "InputError",
    "InvariantError",
    "JournalCorrupt",
    "JournalError",
    "JournalFull",
    "MemberError",
    "MemberUnavailable",
    "Problem",
    "Refused",
    "SpecError",
    "UnknownRun",
]

from dataclasses import dataclass


class EnsembleError(Exception):
    """Root of the tree. `str(error)` is a message a person can act on."""


class InputError(EnsembleError):
    """What was given cannot be used. The command line exits with 2."""


class Refused(InputError):
    """What was asked of a run was not done, for the reason in the text."""


class FileError(InputError):
    """A file cannot be read at all."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong in an ensemble file.

    `line` and `column` count from 1; 0 where the spec did not come from a file.
    `where` is the path inside the file, such as `jobs[2].walltime`.
    """

    message: str
    file: str = ""
    line: int = 0
    column: int = 0
    where: str = ""
    hint: str = ""

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}: " if self.line else ""
        where = f"{self.where}: " if self.where else ""
        stop = "" if self.message.endswith((".", "?", "!", ":")) else "."
        hint = f"{stop} {self.hint[0].upper()}{self.hint[1:]}" if self.hint else ""
        return f"{place}{where}{self.message}{hint}"


class SpecError(InputError):
    """The ensemble file is refused; `problems` holds each reason, in file order."""

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = problems
        super().__init__("\n".join(str(problem) for problem in problems))


class ExpressionError(InputError):
    """An expression does not parse. `column` counts from 1 inside `text`."""

    def __init__(self, message: str, text: str = "", column: int = 0, hint: str = "") -> None:
        self.message, self.text, self.column, self.hint = message, text, column, hint
        place = f" at column {column} of {text!r}" if column else ""
        super().__init__(f"{message}{place}{'. ' + hint[0].upper() + hint[1:] if hint else ''}")


class UnknownRun(InputError):
    """No run of that name or path."""


class JournalError(EnsembleError):
    """The journal cannot be written or read."""


class JournalCorrupt(JournalError):
    """A record in the middle is bad."""

    def __init__(self, message: str, path: str = "", seq: int = 0, offset: int = 0) -> None:
        self.path, self.seq, self.offset = path, seq, offset
        super().__init__(message)


class JournalFull(JournalError):
    """The disk is full."""


class Fenced(JournalError):
    """A newer writer (a higher epoch) has taken this run over; this process must stop writing."""


class MemberError(EnsembleError):
    """A back end failed. `transient` says whether trying again can help."""

    def __init__(self, message: str, transient: bool = False) -> None:
        self.transient = transient
        super().__init__(message)


class MemberUnavailable(MemberError):
    """The back end cannot be used on this machine."""


class ArtifactError(EnsembleError):
    """A registry failed or refused, or what it holds is not what was pushed."""


class InvariantError(EnsembleError):
    """A bug of ours: the engine's state contradicts itself."""
