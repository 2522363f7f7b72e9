"""From the YAML of a recipe file to the structs of `recipes.model`, every problem noted with its place."""

from __future__ import annotations

__all__ = ["read_recipes"]

import re
from pathlib import Path
from typing import Any, Final, TypeVar

from msgspec import Struct

from ensemble.model.errors import SpecError
from ensemble.model.jobs import Scalar
from ensemble.spec.convert import Failed, nearest
from ensemble.spec.meaning import check_condition
from ensemble.spec.nodes import Tree, read_tree
from ensemble.spec.reader import Reader
from ensemble.studies.recipes.model import (
    Application,
    Base,
    Clone,
    Download,
    Fabric,
    Mpi,
    Platform,
    Problem,
    PythonPackage,
    RecipeFile,
    Variant,
)

_WORD: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+:=@~/-]*")
_PART: Final = re.compile(r"[a-z0-9][a-z0-9._-]*")
_OF_A_JOB: Final = ("size", "tasks", "duration", "exit_code", "attempt")

S = TypeVar("S", bound=Struct)


def read_recipes(path: str | Path) -> RecipeFile:
    """Read a recipe file.

    Raises `FileError` when the file cannot be read and `SpecError`, with every problem found, when it says something
    impossible.
    """
    tree = read_tree(path)
    reader = _RecipeReader(str(Path(path).parent), 0)
    found: RecipeFile | None = None
    try:
        found = RecipeFile(**reader.struct(tree, RecipeFile, ""))
    except Failed:
        assert reader.problems
    if reader.problems or found is None:
        raise SpecError(sorted(reader.problems, key=lambda problem: (problem.line, problem.column)))
    return found


class _RecipeReader(Reader):
    """A recipe's own spellings: a method for each shape of `recipes.model`, of the same name."""

    def elsewhere(self, key: str) -> str:
        return ""

    def words(self, tree: Tree, where: str) -> tuple[str, ...]:
        return tuple(self.items(tree, self._word, where))

    def _word(self, tree: Tree, where: str) -> str:
        text = self.text(tree, where)
        if not _WORD.fullmatch(text):
            self.complain(tree, where, f"{text!r} is not one word")
            raise Failed
        return text

    def lines(self, tree: Tree, where: str) -> tuple[str, ...]:
        return tuple(self.items(tree, self._line, where))

    def _line(self, tree: Tree, where: str) -> str:
        text = self.text(tree, where).strip()
        if not text or "\n" in text:
            self.complain(tree, where, "a command has one line", "Begin another item with `- ` for each command.")
            raise Failed
        return text

    def sizes(self, tree: Tree, where: str) -> tuple[Scalar, ...]:
        found = tuple(self.items(tree, self.scalar, where))
        if not found:
            self.complain(tree, where, "there is no size in this list")
            raise Failed
        return found

    def sha256(self, tree: Tree, where: str) -> str:
        return self._digits(tree, where, 64, "a SHA-256 checksum")

    def commit(self, tree: Tree, where: str) -> str:
        return self._digits(tree, where, 40, "a commit")

    def image_digest(self, tree: Tree, where: str) -> str:
        text = self.text(tree, where)
        if not re.fullmatch(r"sha256:[0-9a-f]{64}", text):
            self.complain(tree, where, f"{text!r} is not a digest", "It is `sha256:` and 64 hexadecimal digits.")
            raise Failed
        return text

    def _digits(self, tree: Tree, where: str, count: int, what: str) -> str:
        text = self.text(tree, where).lower()
        if not re.fullmatch(rf"[0-9a-f]{{{count}}}", text):
            self.complain(tree, where, f"{text!r} is not {what}", f"It has {count} hexadecimal digits.")
            raise Failed
        return text

    # ---- things by name ----------------------------------------------------------------------------

    def _by_name(self, tree: Tree, where: str, struct: type[S], named: bool = False) -> dict[str, S]:
        """A mapping from names to structs; every one that is wrong is noted."""
        if not isinstance(tree.value, dict):
            self.complain(tree, where, f"{tree.kind} where a mapping from names was expected")
            raise Failed
        found: dict[str, S] = {}
        failed = False
        for key, (key_tree, value) in tree.value.items():
            inner = f"{where}.{key}"
            if named and not _PART.fullmatch(key):
                hint = "Names are lower-case letters, digits, `.`, `_` and `-`."
                self.complain(key_tree, inner, f"{key!r} cannot be a name", hint)
                failed = True
                continue
            more: dict[str, Any] = {"name": key, "file": value.place.file} if named else {}
            try:
                found[key] = struct(**more, **self.struct(value, struct, inner))
            except Failed:
                failed = True
        if failed:
            raise Failed
        return found

    def python_packages(self, tree: Tree, where: str) -> dict[str, PythonPackage]:
        return self._by_name(tree, where, PythonPackage)

    def downloads(self, tree: Tree, where: str) -> dict[str, Download]:
        return self._by_name(tree, where, Download)

    def clones(self, tree: Tree, where: str) -> dict[str, Clone]:
        return self._by_name(tree, where, Clone)

    def variants(self, tree: Tree, where: str) -> tuple[Variant, ...]:
        return tuple(self.items(tree, lambda one, inner: Variant(**self.struct(one, Variant, inner)), where))

    def bases(self, tree: Tree, where: str) -> dict[str, Base]:
        return self._by_name(tree, where, Base, named=True)

    def fabrics(self, tree: Tree, where: str) -> dict[str, Fabric]:
        return self._by_name(tree, where, Fabric, named=True)

    def mpis(self, tree: Tree, where: str) -> dict[str, Mpi]:
        return self._by_name(tree, where, Mpi, named=True)

    def platforms(self, tree: Tree, where: str) -> dict[str, Platform]:
        return self._by_name(tree, where, Platform)

    def problems_of(self, tree: Tree, where: str) -> dict[str, Problem]:
        return self._by_name(tree, where, Problem)

    def applications(self, tree: Tree, where: str) -> dict[str, Application]:
        found = self._by_name(tree, where, Application, named=True)
        for name, application in found.items():
            self._check_figures(f"{where}.{name}", application)
        return found

    # ---- what an application's figures mean --------------------------------------------------------

    def _check_figures(self, where: str, application: Application) -> None:
        self._figure(f"{where}.figure.name", application.figure.name, set(application.outputs))
        self._condition(f"{where}.valid", application.valid, {*application.outputs, *_OF_A_JOB})
        for name, problem in application.problems.items():
            inner = f"{where}.problems.{name}"
            known = {*application.outputs, *problem.outputs}
            if problem.figure is not None:
                self._figure(f"{inner}.figure.name", problem.figure.name, known)
            self._condition(f"{inner}.valid", problem.valid, {*known, *_OF_A_JOB})

    def _figure(self, where: str, name: str, known: set[str]) -> None:
        if name not in known:
            self.complain(self.places[where], where, f"{name!r} is not among the outputs", nearest(name, sorted(known)))

    def _condition(self, where: str, text: str, known: set[str]) -> None:
        if text:
            check_condition(self, self.places[where], where, text, known)
