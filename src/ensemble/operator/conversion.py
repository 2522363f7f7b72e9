"""From an `Ensemble` object to an ensemble file, with the file format's own reader and checks.

Every value keeps its path in the object as its place, so what `ensemble check` finds is told where the person wrote it:
`spec.members[0].jobs[1].walltime: ...`, or with line and column inside the text of `ensemble: |`.
"""

from __future__ import annotations

__all__ = ["Converted", "ObjectError", "convert", "file_of", "text_of"]

import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from ensemble.members.kubernetes.merge import merged
from ensemble.members.kubernetes.minicluster_objects import MiniClusterOptions
from ensemble.members.kubernetes.node_pool import SAFE_TO_EVICT, NodePool
from ensemble.members.kubernetes.options import MemberOptions
from ensemble.model.errors import FileError, InputError, MemberError, Problem, SpecError
from ensemble.operator.resource import KINDS, MemberResource, SidecarSpec, Spec
from ensemble.runtime.examining import examine
from ensemble.runtime.opening import algorithms, member_kinds
from ensemble.spec.convert import Failed
from ensemble.spec.loader import load_tree
from ensemble.spec.model import EnsembleSpec
from ensemble.spec.nodes import Place, Tree, parse_tree, tree_of_plain
from ensemble.spec.reader import Reader

DEFAULT_ALGORITHM: Final = "workload-demand"
"""What steers the jobs of a member that says no algorithm, as in the first version of this resource."""

_OLDER_OPTIONS: Final = {"scaleUpChecks": "scaleChecks"}
"""Names of options in published examples, and what they are called in the documentation and here."""

_SIZES: Final = ("size", "minSize", "maxSize")


class ObjectError(InputError):
    """An object is refused; `problems` are sentences that begin with the path in the object."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__("\n".join(problems))


class Converted(NamedTuple):
    """What an object says: the ensemble, `spec` as it was read, and what looks like a mistake."""

    ensemble: EnsembleSpec
    spec: Spec
    warnings: tuple[str, ...]


def convert(name: str, data: object, *, check: bool = True) -> Converted:
    """Read `spec` of the Ensemble `name`. Raises `ObjectError` with every problem found.

    `check`: also look for what cannot work and what looks like a mistake.
    """
    reader = Reader("", 0)
    tree = _tree(data, "spec")
    try:
        spec = Spec(**reader.struct(tree, Spec, "spec"))
        file = _File(reader, tree, spec).build() if not reader.problems else None
    except Failed:
        file = None
    if file is None or reader.problems:
        raise ObjectError([text_of(problem) for problem in reader.problems])
    try:
        ensemble, places = load_tree(file, _name(name), algorithms(), member_kinds())
        warnings = examine(ensemble, places, final=True) if check else []
    except SpecError as error:
        raise ObjectError([text_of(problem) for problem in error.problems]) from error
    except InputError as error:
        raise ObjectError([f"spec: {error}"]) from error
    return Converted(ensemble, spec, tuple(text_of(problem) for problem in warnings))


def file_of(name: str, data: object) -> dict[str, Any]:
    """The ensemble file of an object that `convert` has read, as plain data."""
    reader, tree = Reader("", 0), _tree(data, "spec")
    file: dict[str, Any] = _File(reader, tree, Spec(**reader.struct(tree, Spec, "spec"))).build().plain()
    return {"name": _name(name), **file}


def text_of(problem: Problem) -> str:
    """A problem in one line that begins with the path in the object."""
    path = problem.file or (f"spec.{problem.where}" if problem.where else "spec")
    line = f" line {problem.line}, column {problem.column}:" if problem.line else ""
    return f"{path}:{line} {Problem(problem.message, hint=problem.hint)}"


def _name(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-") or "ensemble"


def _tree(data: object, path: str) -> Tree:
    """The tree of an object; each value's place is its path."""
    place = Place(path)
    if isinstance(data, Mapping):
        pairs = {}
        for key, value in data.items():
            inner = f"{path}.{key}"
            pairs[str(key)] = (Tree(str(key), Place(inner), str(key), True), _tree(value, inner))
        return Tree(pairs, place)
    if isinstance(data, list | tuple):
        return Tree([_tree(item, f"{path}[{index}]") for index, item in enumerate(data)], place)
    return tree_of_plain(data, place)


class _File:
    """Makes the tree of an ensemble file from that of an object."""

    def __init__(self, reader: Reader, tree: Tree, spec: Spec) -> None:
        self._reader, self._tree, self._spec = reader, tree, spec
        self._file: dict[str, tuple[Tree, Tree]] = {}

    def build(self) -> Tree:
        """Raises `Failed`, with the problems noted."""
        spec = self._spec
        for key in ("jobs", "rules", "algorithm", "limits", "logging", "custom", "seed"):
            value: Tree | None = getattr(spec, key)
            if value is not None:
                self._put(key, value)
        named = self._names()
        texts = [one for one in spec.members if one.ensemble is not None]
        if len(texts) > 1:
            self._refuse(
                texts[1].ensemble, "another member has an ensemble already, and an Ensemble has one set of rules",
                "Write an Ensemble for each, or put `jobs` and `rules` beside `members`.",
            )  # fmt: skip
        for name, member in named.items():
            if member.ensemble is not None:
                self._text(name, member)
            elif member.jobs is not None or member.algorithm is not None:
                self._older(name, member, len(named) > 1)
        if spec.size and len(named) > 1:
            place = self._tree.value["size"][1]
            self._refuse(place, "with several members it is not clear which of them it is the size of",
                         "Write `size` in a member.")  # fmt: skip
        members = {name: self._member(name, member) for name, member in named.items()}
        self._put(
            "members", Tree({name: (_text(name, one.place), one) for name, one in members.items()}, self._tree.place)
        )
        if self._reader.problems:
            raise Failed
        return Tree(self._file, self._tree.place)

    def _put(self, key: str, value: Tree) -> None:
        self._file[key] = (_text(key, value.place), value)

    def _refuse(self, tree: Tree | None, message: str, hint: str = "") -> None:
        place = tree or self._tree
        self._reader.complain(place, place.place.file, message, hint)

    # ---- members -----------------------------------------------------------------------------------

    def _names(self) -> dict[str, MemberResource]:
        """Members by name; one without a name is called after its kind."""
        found: dict[str, MemberResource] = {}
        for member in self._spec.members:
            kinds = [key for key in KINDS if key in member.tree.value]
            if len(kinds) > 1:
                self._refuse(member.tree, f"a member is of one kind, and this is {' and '.join(kinds)}")
            name = member.name or member.kind
            if not member.name and name in found:
                name = next(f"{name}-{n}" for n in range(2, 100) if f"{name}-{n}" not in found)
            if name in found:
                self._refuse(member.tree, f"another member is called {name!r} already")
            found[name] = member
        return found

    def _member(self, name: str, member: MemberResource) -> Tree:
        tree = member.tree
        where = tree.value.get(member.kind_key, (None, tree))[1]
        options = dict(getattr(member, _FIELDS[member.kind_key]) or {})
        sizes = {"size": member.size, "minSize": member.min_size, "maxSize": member.max_size}
        if member.kind == "minicluster":
            inner = options.get("spec")
            if not isinstance(inner, dict):
                self._refuse(where, "`spec` is missing: that of a MiniCluster, with `size` and `containers`")
                inner = {}
            for key in _SIZES:
                sizes[key] = sizes[key] or self._whole(where, inner, key)
            # the sizes are the member's own: a change of them is no change of its options
            options = {"minicluster": {key: value for key, value in inner.items() if key not in _SIZES}}
            options["sidecar"] = _sidecar(member.sidecar or self._spec.sidecar)
        if self._spec.size:
            sizes["size"] = self._spec.size
        start = sizes["size"] or max(1, sizes["minSize"])
        least, most = sizes["minSize"], sizes["maxSize"] or (start if member.kind == "minicluster" else 0)
        if (most and start > most) or start < least:
            place = self._tree.value["size"][1] if self._spec.size else where
            bounds = f"from minSize {least}" + (f" to maxSize {most}" if most else " on")
            self._refuse(place, f"size {start} is outside what the member may have, {bounds}")
        nodes = {"start": start, "min": least} | ({"max": most} if most else {})
        pool = member.node_pool
        try:
            if member.kind != "minicluster":
                options = {_option(key): _word(value) for key, value in options.items()}
                if pool is not None:
                    options = _pooled(options, NodePool.read(pool.plain()))
                MemberOptions.read(options, f"a member of kind {member.kind}")
            else:
                options |= {"nodePool": pool.plain()} if pool is not None else {}
                MiniClusterOptions.read(options, ())
        except MemberError as error:
            self._refuse(where, str(error))
        fields: dict[str, Any] = {"kind": member.kind, "nodes": nodes, "options": options}
        fields |= {key: value for key, value in (("cores", member.cores), ("gpus", member.gpus)) if value}
        found = tree_of_plain(fields, where.place)
        if member.price is not None:
            found.value["price"] = (_text("price", member.price.place), member.price)
        return found

    def _whole(self, where: Tree, inner: Mapping[str, Any], key: str) -> int:
        value = inner.get(key, 0)
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            self._refuse(where.value["spec"][1], f"{key} is {value!r}, and a whole number was expected")
            return 0
        return value

    # ---- the older shapes --------------------------------------------------------------------------

    def _text(self, name: str, member: MemberResource) -> None:
        """`ensemble: |`: a whole file."""
        tree = member.ensemble
        assert tree is not None
        path = tree.place.file
        for key in ("jobs", "rules", "algorithm"):
            if getattr(self._spec, key) is not None or (key != "rules" and getattr(member, key) is not None):
                self._refuse(tree, f"`{key}` is given beside it; put everything in one of the two places")
        try:
            file = parse_tree(self._reader.text(tree, path), path)
        except FileError:
            self._refuse(tree, "it is empty; an ensemble needs at least `jobs`")
            return
        except SpecError as error:
            self._reader.problems += error.problems
            return
        if not isinstance(file.value, dict):
            self._refuse(tree, f"{file.kind} where a mapping with `jobs` was expected")
            return
        if "members" in file.value:
            self._refuse(file.value["members"][0], "the members of an Ensemble stand in spec.members")
        self._file |= {key: pair for key, pair in file.value.items() if key != "members"}
        if len(self._spec.members) > 1:
            self._bind(self._file.get("jobs"), name)

    def _older(self, name: str, member: MemberResource, several: bool) -> None:
        """`jobs` and `algorithm` of a member."""
        before = self._file.get("jobs")
        if member.jobs is not None:
            if self._spec.jobs is not None:
                self._refuse(member.jobs, "`jobs` stand beside `members` too; put them in one of the two places")
            if several:
                self._bind((member.jobs, member.jobs), name)
            items = member.jobs.value if isinstance(member.jobs.value, list) else []
            if before is None:
                self._put("jobs", member.jobs)
            elif isinstance(before[1].value, list):
                self._put("jobs", Tree(before[1].value + items, before[1].place))
        given = member.algorithm or self._spec.algorithm
        algorithm = self._algorithm(given, member.tree)
        _, known = self._file.get("algorithm", (None, self._spec.algorithm))
        if known is not self._spec.algorithm and known is not None and known.plain() != algorithm.plain():
            hint = "Write `algorithm` beside `members`, or an Ensemble for each."
            self._refuse(
                given or member.tree, "another member has another algorithm, and an Ensemble has one algorithm", hint
            )
        self._put("algorithm", algorithm)

    def _algorithm(self, given: Tree | None, member: Tree) -> Tree:
        """The algorithm with the names of today, checked every `checkSeconds`."""
        place = given.place if given is not None else member.place
        plain = given.plain() if given is not None else {}
        if isinstance(plain, str):
            plain = {"name": plain}
        if not isinstance(plain, dict) or not isinstance(plain.get("options", {}), dict):
            return given if given is not None else member
        name = plain.get("name", DEFAULT_ALGORITHM)
        options = {_OLDER_OPTIONS.get(key, key): value for key, value in plain.get("options", {}).items()}
        if name == DEFAULT_ALGORITHM:
            options.setdefault("checkSeconds", self._spec.check_seconds)
        others = {key: value for key, value in plain.items() if key not in ("name", "options")}
        return tree_of_plain({**others, "name": name, "options": options}, place)

    def _bind(self, jobs: tuple[Tree, Tree] | None, member: str) -> None:
        """Let groups run on the member they stand in."""
        for group in jobs[1].value if jobs is not None and isinstance(jobs[1].value, list) else ():
            if isinstance(group.value, dict):
                group.value.setdefault("member", (_text("member", group.place), _text(member, group.place)))


_PODS: Final = {"imagePullPolicy": "pull", "serviceAccountName": "service_account", "template": "pod"}
"""Keys of a pod, and the options that say the same."""

_FIELDS: Final = {
    "job": "job",
    "jobset": "jobset",
    "leaderWorkerSet": "leader_worker_set",
    "minicluster": "minicluster",
}


def _option(key: str) -> str:
    """An option of a member as the file format spells it: `nodeSelector` is `node_selector`."""
    return _PODS.get(key) or re.sub(r"(?<=[a-z])[A-Z]", lambda found: f"_{found[0].lower()}", key)


def _word(value: Any) -> Any:
    """A truth value as options have it."""
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else value


def _pooled(options: dict[str, Any], pool: NodePool) -> dict[str, Any]:
    """The options of pods that run in a pool, and that an autoscaler does not move once they are there."""
    ours = {"metadata": {"annotations": {SAFE_TO_EVICT: "false"}}, "spec": pool.pod()}
    return {**options, "pod": merged(ours, options.get("pod", {})), "new_nodes": "yes"}


def _sidecar(sidecar: SidecarSpec) -> dict[str, Any]:
    pulled = sidecar.pull_always or sidecar.pull_policy == "Always"
    return {"image": sidecar.image, "pullAlways": pulled, "port": sidecar.port, "workers": sidecar.workers}


def _text(text: str, place: Place) -> Tree:
    return Tree(text, place, text, True)
