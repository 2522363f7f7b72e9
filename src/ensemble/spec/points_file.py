"""Points from a CSV file (RFC 4180): a row is a point, a column is an axis, and a message names line and column.

The standard library's `csv` tells neither the column of a cell nor whether it stood in quotes, which makes `"1"` text.
"""

from __future__ import annotations

__all__ = ["read_points"]

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from ensemble.model.errors import InputError
from ensemble.model.jobs import Scalar
from ensemble.model.wording import counted
from ensemble.spec.axes import Points, axis_name, check_size, scalar, sort_of
from ensemble.spec.nodes import scalar_of_text


def read_points(file: str, directory: str) -> Points:
    """The rows of a CSV file, whose first row names the axes."""
    header, *rows = _table(Path(directory or ".", file), file) or [[]]
    if not header:
        raise InputError(f"{file} is empty; its first row must name the axes")
    if not rows:
        raise InputError(f"{file} has no row below the names of the axes")
    axes: list[str] = []
    for cell in header:
        with _at(file, cell):
            axis = axis_name(cell.text)
            if axis in axes:
                raise InputError(f"there is a column {axis!r} already")
            axes.append(axis)
    check_size(len(rows))
    points, lines = [], dict[tuple[tuple[str, Scalar], ...], int]()
    for row in rows:
        with _at(file, row[min(len(row), len(axes) + 1) - 1]):
            if len(row) != len(axes):
                raise InputError(f"the row has {counted(len(row), 'value')} for {counted(len(axes), 'column')}")
        point = {}
        for axis, cell in zip(axes, row, strict=True):
            with _at(file, cell):
                if cell.value is None:
                    raise InputError(f"there is no value of {axis} here")
                point[axis] = scalar(axis, cell.value)
        key = tuple((sort_of(value), value) for value in point.values())
        if key in lines:
            with _at(file, row[0]):
                raise InputError(f"line {lines[key]} is the same point; `count` repeats the jobs of a point")
        lines[key] = row[0].line
        points.append(point)
    return tuple(points)


@contextmanager
def _at(file: str, cell: _Cell) -> Iterator[None]:
    """Let what is wrong with a cell name its file, line and column."""
    try:
        yield
    except InputError as error:
        what = str(error).removeprefix("parameters: ")
        raise InputError(f"{file}:{cell.line}:{cell.column}: {what}") from None


class _Cell(NamedTuple):
    """One cell; line and column count from 1."""

    text: str
    line: int
    column: int
    quoted: bool = False

    @property
    def value(self) -> Any:
        """The value as YAML would read it: text in quotes is text, an empty cell is None."""
        return self.text if self.quoted else scalar_of_text(self.text)


def _table(path: Path, name: str) -> list[list[_Cell]]:
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


def _blank(row: list[_Cell]) -> bool:
    return len(row) == 1 and not row[0].text and not row[0].quoted


class _Scanner:
    def __init__(self, text: str, name: str) -> None:
        self.text, self.name = text, name
        self.at, self.line, self.begin = 0, 1, 0
        """The present character, its line, and where that line begins."""

    def rows(self) -> list[list[_Cell]]:
        rows: list[list[_Cell]] = [[]]
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

    def _cell(self) -> _Cell:
        while self.text.startswith((" ", "\t"), self.at):
            self.at += 1
        line, column = self.line, self.at - self.begin + 1
        if self.text.startswith('"', self.at):
            return _Cell(self._quoted(line, column), line, column, True)
        ends = [end for end in (self.text.find(",", self.at), self.text.find("\n", self.at)) if end >= 0]
        start, self.at = self.at, min(ends, default=len(self.text))
        return _Cell(self.text[start : self.at].strip(), line, column)

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
