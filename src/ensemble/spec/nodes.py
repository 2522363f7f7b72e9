"""YAML as a tree that knows its places: nothing is constructed, so nothing in a file can run or grow."""

from __future__ import annotations

__all__ = ["MAX_BYTES", "Place", "Tree", "read_tree", "tree_of_plain"]

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

from ensemble.model.errors import FileError, Problem, SpecError

MAX_BYTES: Final = 4 << 20
"""Size of the largest ensemble file."""

MAX_NODES: Final = 200_000
"""Values in a file after its aliases are followed: what a bomb of aliases runs into."""

_BOOLEANS: Final = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_NULLS: Final = ("", "~", "null", "Null", "NULL")


class Place(NamedTuple):
    """Where a value stands; line and column count from 1, 0 where there is no file."""

    file: str = ""
    line: int = 0
    column: int = 0


@dataclass(slots=True)
class Tree:
    """A value with its place: `value` is a dict of (key tree, tree) by key, a list of trees, or a scalar.

    `raw` is a scalar's text as written; `quoted` whether it stood in quotes (then it is text, whatever it looks like).
    """

    value: Any
    place: Place
    raw: str = ""
    quoted: bool = False

    @property
    def kind(self) -> str:
        """What a person would call it."""
        if isinstance(self.value, dict):
            return "a mapping"
        if isinstance(self.value, list):
            return "a list"
        if self.value is None:
            return "nothing"
        if isinstance(self.value, str):
            return f"the text {_short(self.value)!r}"
        return f"{str(self.value).lower() if isinstance(self.value, bool) else _short(self.raw or str(self.value))}"

    def plain(self) -> Any:
        """The value without places."""
        if isinstance(self.value, dict):
            return {key: tree.plain() for key, (_, tree) in self.value.items()}
        if isinstance(self.value, list):
            return [tree.plain() for tree in self.value]
        return self.value


def _short(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "..."


def read_tree(path: str | Path) -> Tree:
    """Read a file. Raises `FileError` when it cannot be read, `SpecError` when it is not one YAML mapping."""
    name = str(path)
    path = Path(path)
    if path.is_dir():
        raise FileError(f"{name} is a directory; an ensemble file is wanted")
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise FileError(f"{name}: no such file{_neighbour(path)}") from None
    except OSError as error:
        raise FileError(f"{name}: {error.strerror}") from None
    if len(data) > MAX_BYTES:
        raise FileError(
            f"{name} is larger than {MAX_BYTES >> 20} MiB. Say many points by `parameters` (a grid, a function) "
            "instead of one by one"
        )
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise FileError(
            f"{name}:{line}: byte {error.start} (0x{data[error.start]:02x}) is not UTF-8; save the file as UTF-8"
        ) from None
    return parse_tree(text, name)


def _neighbour(path: Path) -> str:
    from difflib import get_close_matches

    try:
        names = [entry.name for entry in path.parent.iterdir() if entry.suffix in (".yaml", ".yml")]
    except OSError:
        return ""
    close = get_close_matches(path.name, names, 1)
    return f"; did you mean {path.parent / close[0]}?" if close else ""


def parse_tree(text: str, name: str) -> Tree:
    """Parse YAML text into a tree. Raises `FileError` for an empty one, `SpecError` for bad YAML."""
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)(text)
    # types are told by `scalar_of_text`: only the tags that are written out are of interest here
    loader.resolve = lambda kind, value, implicit: ""  # type: ignore[method-assign]
    try:
        node = loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        what = (error.problem or "it cannot be read").strip()
        if "expected a single document" in str(error):
            what = "there is a second document (`---`); a file holds one ensemble"
        raise SpecError(
            [
                Problem(
                    f"not YAML: {what}",
                    name,
                    mark.line + 1 if mark else 1,
                    mark.column + 1 if mark else 1,
                    hint=_advice(what),
                )
            ]
        ) from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        what = "it is nested too deeply" if isinstance(error, RecursionError) else str(error).split("\n", 1)[0]
        raise SpecError([Problem(f"not YAML: {what}", name, 1, 1)]) from None
    finally:
        loader.dispose()
    if node is None:
        raise FileError(f"{name} is empty; an ensemble needs at least `jobs`")
    return _Reader(name).tree(node, 0)


def _advice(what: str) -> str:
    if "cannot start any token" in what:
        return "Indent with spaces, not tabs, and put text with special characters in quotes."
    if "mapping values are not allowed" in what:
        return "A text with `: ` in it needs quotes."
    return ""


class _Reader:
    """Walks the nodes of YAML's composer."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.count = 0

    def tree(self, node: Any, depth: int) -> Tree:
        place = Place(self.file, node.start_mark.line + 1, node.start_mark.column + 1)
        self.count += 1
        if self.count > MAX_NODES:
            self._refuse(place, f"more than {MAX_NODES:,} values once its aliases are followed")
        if depth > 100:
            self._refuse(place, "it is nested more than 100 levels deep")
        tag = node.tag or ""
        if tag.startswith("tag:yaml.org,2002:python") or (tag.startswith("!") and tag != "!"):
            shown = tag.replace("tag:yaml.org,2002:", "!!")
            self._refuse(place, f"the tag {shown} is not allowed: a file is data and nothing in it is run")
        if node.id == "mapping":
            return Tree(self._mapping(node, depth), place)
        if node.id == "sequence":
            return Tree([self.tree(item, depth + 1) for item in node.value], place)
        return self._scalar(node, place)

    def _mapping(self, node: Any, depth: int) -> dict[str, tuple[Tree, Tree]]:
        found: dict[str, tuple[Tree, Tree]] = {}
        merged: dict[str, tuple[Tree, Tree]] = {}
        for key_node, value_node in node.value:
            key = self.tree(key_node, depth + 1)
            if isinstance(key.value, (dict, list)):
                self._refuse(key.place, f"{key.kind} cannot be a key")
            name = key.raw
            if name == "<<" and not key.quoted:
                value = self.tree(value_node, depth + 1)
                for source in value.value if isinstance(value.value, list) else [value]:
                    if not isinstance(source.value, dict):
                        self._refuse(value.place, f"`<<` takes mappings, not {source.kind}")
                    for inherited, pair in source.value.items():
                        merged.setdefault(inherited, pair)
                continue
            if name in found:
                first = found[name][0].place.line
                self._refuse(key.place, f"{name!r} appears twice; the first is in line {first}")
            found[name] = (key, self.tree(value_node, depth + 1))
        return {**merged, **found}

    def _scalar(self, node: Any, place: Place) -> Tree:
        text: str = node.value
        if node.style in ("'", '"', "|", ">") or ((node.tag or "").endswith(":str") and node.style):
            return Tree(text, place, text, True)
        return Tree(scalar_of_text(text), place, text)

    def _refuse(self, place: Place, message: str) -> None:
        raise SpecError([Problem(message, place.file, place.line, place.column)])


def scalar_of_text(text: str) -> Any:
    """What an unquoted scalar is: YAML 1.2's core schema, so `yes`, `on` and `1:30` are text."""
    if text in _NULLS:
        return None
    if text in _BOOLEANS:
        return _BOOLEANS[text]
    first = text[0]
    if first.isdigit() or first in "+-.":
        try:
            # `_` in numbers is Python's, not YAML 1.2's
            if "_" not in text:
                return int(text)
        except ValueError:
            pass
        try:
            if "_" not in text and text.lower().lstrip("+-") not in ("inf", "infinity", "nan"):
                return float(text)
        except ValueError:
            pass
        if text.lower().lstrip("+-") in (".inf", ".nan"):
            return float(text.lower().replace(".", ""))
    return text


def tree_of_plain(data: Any, place: Place | None = None, depth: int = 0) -> Tree:
    """The tree of plain data (from Python or JSON), without places. Raises `SpecError` for what is not plain."""
    place = place or Place()
    if depth > 100:
        raise SpecError([Problem("nested more than 100 levels deep")])
    if isinstance(data, dict):
        return Tree(
            {
                str(key): (Tree(str(key), place, str(key), True), tree_of_plain(value, place, depth + 1))
                for key, value in data.items()
            },
            place,
        )
    if isinstance(data, (list, tuple)):
        return Tree([tree_of_plain(item, place, depth + 1) for item in data], place)
    if data is None or isinstance(data, (str, bool, int, float)):
        return Tree(data, place, "" if data is None else str(data), isinstance(data, str))
    raise SpecError([Problem(f"{type(data).__name__} is not plain data (text, numbers, lists, mappings)")])
