"""Reading an ensemble file: YAML to `EnsembleSpec`, or every reason why not, each with its place."""

from __future__ import annotations

__all__ = [
    "action_from_plain",
    "from_plain",
    "load",
    "load_tree",
    "load_with_places",
    "loads",
    "no_collection",
    "rule_from_plain",
]

import gc
import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ensemble.model.errors import Problem, SpecError
from ensemble.spec.convert import Failed
from ensemble.spec.meaning import check_meaning, check_rule
from ensemble.spec.model import ActionSpec, EnsembleSpec, RuleSpec
from ensemble.spec.nodes import Place, Tree, parse_tree, read_tree, tree_of_plain
from ensemble.spec.outline import Outline
from ensemble.spec.reader import Reader


def load(path: str | Path, algorithms: Collection[str] = (), kinds: Collection[str] = ()) -> EnsembleSpec:
    """Read an ensemble file.

    `algorithms` are those there are, by name, and `kinds` the kinds of members (empty: not checked). Raises
    `FileError` when the file cannot be read and `SpecError`, with every problem found, when it says something
    impossible.
    """
    return load_with_places(path, algorithms, kinds)[0]


def load_with_places(
    path: str | Path, algorithms: Collection[str] = (), kinds: Collection[str] = ()
) -> tuple[EnsembleSpec, dict[str, Place]]:
    """The same, and where in the file each value stands, by its path in the file (`rules[2].when`)."""
    with no_collection():
        tree = read_tree(path)
        return _spec(tree, os.path.dirname(os.path.abspath(path)), Path(path).stem, algorithms, kinds)


@contextmanager
def no_collection() -> Iterator[None]:
    """Keep the garbage collector off: nearly all that is made here stays, and it would go through it again and again.

    For a file of 3.7 MB that took two thirds of the time.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def loads(text: str, file: str = "<text>", directory: str = "", algorithms: Collection[str] = ()) -> EnsembleSpec:
    """The same from text; `file` is what messages call it, `directory` what its paths are relative to."""
    return _spec(parse_tree(text, file), directory or os.getcwd(), "ensemble", algorithms)[0]


def from_plain(data: dict[str, Any], directory: str = "", algorithms: Collection[str] = ()) -> EnsembleSpec:
    """The same from plain data in the file's format; problems name the path inside it."""
    return _spec(tree_of_plain(data), directory or os.getcwd(), "ensemble", algorithms)[0]


def load_tree(
    tree: Tree, name: str = "ensemble", algorithms: Collection[str] = (), kinds: Collection[str] = ()
) -> tuple[EnsembleSpec, dict[str, Place]]:
    """The same as `load_with_places` from a tree that was made elsewhere; `name` is that of an ensemble without one."""
    with no_collection():
        return _spec(tree, os.getcwd(), name, algorithms, kinds)


def rule_from_plain(data: dict[str, Any], spec: EnsembleSpec) -> RuleSpec:
    """A rule in the file's format, checked against a file. Raises `SpecError`."""
    reader = Reader(spec.directory, spec.seed)
    try:
        rule = reader.rule(tree_of_plain(data), "rule")
    except Failed:
        raise SpecError(reader.problems) from None
    check_rule(reader, Outline(spec), rule, "rule")
    _refuse(reader)
    return rule


def action_from_plain(data: dict[str, Any], spec: EnsembleSpec) -> ActionSpec:
    """An action in the file's format, checked against a file. Raises `SpecError`."""
    rule = rule_from_plain({"trigger": "start", "action": data}, spec)
    return rule.action


def _refuse(reader: Reader) -> None:
    if reader.problems:
        raise SpecError(sorted(reader.problems, key=lambda problem: (problem.line, problem.column)))


def _spec(
    tree: Tree, directory: str, name: str, algorithms: Collection[str], kinds: Collection[str] = ()
) -> tuple[EnsembleSpec, dict[str, Place]]:
    if not isinstance(tree.value, dict):
        raise SpecError(
            [
                Problem(
                    f"{tree.kind} where a mapping with `jobs` was expected",
                    tree.place.file,
                    tree.place.line,
                    tree.place.column,
                )
            ]
        )
    seed = tree.value["seed"][1].value if "seed" in tree.value else 0
    reader = Reader(directory, seed if isinstance(seed, int) and not isinstance(seed, bool) else 0)
    spec = reader.ensemble(tree, name)
    if spec is not None:
        check_meaning(reader, spec, algorithms, kinds)
    _refuse(reader)
    assert spec is not None
    return spec, reader.places
