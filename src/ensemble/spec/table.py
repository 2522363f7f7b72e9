"""CSV files (RFC 4180) as cells that know their places, so that a message can name line and column.

The standard library's `csv` tells neither the column of a cell nor whether it stood in quotes, which makes `"1"` text.
"""

from __future__ import annotations

__all__ = ["Cell", "read_table"]

from pathlib import Path
from typing import Any, NamedTuple

from ensemble.model.errors import InputError
from ensemble.spec.nodes import scalar_of_text


class Cell(NamedTuple):
    """One cell; line and column count from 1."""

    text: str
    line: int
    column: int
    quoted: bool = False

    @property
    def value(self) -> Any:
        """The value as YAML would read it: text in quotes is text, an empty cell is None."""
        return self.text if self.quoted else scalar_of_text(self.text)


def read_table(path: Path, name: str) -> list[list[Cell]]:
    """Return the rows of a CSV file, blank lines left out; `name` is what messages call it.

    Raises `InputError` when it cannot be read, is not UTF-8, or has a quote in the wrong place.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise InputError(f"{name}: no such file beside the ensemble file") from None
    except OSError as error:
        raise InputError(f"{name}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise InputError(f"{name}:{line}: this is not UTF-8; save the file as UTF-8") from None
    return [row for row in _Scanner(text.replace("\r\n", "\n"), name).rows() if row != [] and not _blank(row)]


def _blank(row: list[Cell]) -> bool:
    return len(row) == 1 and not row[0].text and not row[0].quoted


class _Scanner:
    def __init__(self, text: str, name: str) -> None:
        self.text, self.name = text, name
        self.at, self.line, self.begin = 0, 1, 0
        """The present character, its line, and where that line begins."""

    def rows(self) -> list[list[Cell]]:
        rows: list[list[Cell]] = [[]]
        while True:
            rows[-1].append(self._cell())
            if self.at >= len(self.text):
                return rows
            if self.text[self.at] == "\n":
                self._new_line()
                rows.append([])
                if self.at >= len(self.text):
                    return rows
            else:
                self.at += 1

    def _cell(self) -> Cell:
        while self.text.startswith((" ", "\t"), self.at):
            self.at += 1
        line, column = self.line, self.at - self.begin + 1
        if self.text.startswith('"', self.at):
            return Cell(self._quoted(line, column), line, column, True)
        ends = [end for end in (self.text.find(",", self.at), self.text.find("\n", self.at)) if end >= 0]
        start, self.at = self.at, min(ends, default=len(self.text))
        return Cell(self.text[start : self.at].strip(), line, column)

    def _quoted(self, line: int, column: int) -> str:
        pieces = []
        while True:
            end = self.text.find('"', self.at + 1)
            if end < 0:
                raise InputError(f"{self.name}:{line}:{column}: this quote is never closed")
            pieces.append(self.text[self.at + 1 : end])
            self.at = end + 1
            if not self.text.startswith('"', self.at):
                break
            pieces.append('"')
        text = "".join(pieces)
        if "\n" in text:
            self.line += text.count("\n")
            self.begin = self.text.rfind("\n", 0, self.at) + 1
        while self.text.startswith((" ", "\t"), self.at):
            self.at += 1
        if self.at < len(self.text) and self.text[self.at] not in ",\n":
            place = f"{self.name}:{self.line}:{self.at - self.begin + 1}"
            raise InputError(f"{place}: a comma is expected after a value in quotes")
        return text

    def _new_line(self) -> None:
        self.at += 1
        self.line += 1
        self.begin = self.at
