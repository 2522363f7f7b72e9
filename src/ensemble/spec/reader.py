"""The file's own spellings: from a tree to the structs of `spec.model`, every problem noted on the way."""

from __future__ import annotations

__all__ = ["Reader"]

import os
import re
from pathlib import Path
from typing import Any, Final

from msgspec import structs

from ensemble.model.jobs import FileInput
from ensemble.spec.actions import action_names, actions, traits
from ensemble.spec.convert import Converter, Failed, nearest
from ensemble.spec.keys import keys_of
from ensemble.spec.model import (
    UNLIMITED,
    ActionSpec,
    AlgorithmSpec,
    EnsembleSpec,
    GroupSpec,
    LimitsSpec,
    LoggingSpec,
    MemberSpec,
    OutputRule,
    RetrySpec,
    RuleSpec,
)
from ensemble.spec.nodes import Tree
from ensemble.spec.parameters import expand
from ensemble.spec.units import parse_duration, parse_price
from ensemble.spec.vocabulary import FLUX_TRIGGERS, MEMBER_EVENTS, TRIGGERS

HEARTBEAT: Final = 60.0
"""Seconds between ticks where a rule changes the size of a member and the file says nothing."""


class Reader(Converter):
    """The file's own spellings on top of the structs: a method for each key that has one, of the same name."""

    def __init__(self, directory: str, seed: int) -> None:
        self.directory = directory
        self.seed = seed
        super().__init__()

    def elsewhere(self, key: str) -> str:
        owners = [what for struct, what in _OWNERS if any(key in (one.name, *one.aliases) for one in keys_of(struct))]
        return f"It is a key of {' or '.join(owners)}." if owners else ""

    def ensemble(self, tree: Tree, name: str) -> EnsembleSpec | None:
        try:
            found = self.struct(tree, EnsembleSpec, "")
        except Failed:
            return None
        if self.problems and "jobs" not in found and "jobs" in tree.value:
            return None
        if "jobs" not in tree.value:
            self.complain(tree, "", "`jobs` is missing: an ensemble is at least one group of jobs")
            return None
        found.setdefault("name", re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-") or "ensemble")
        rules = found.get("rules", ())
        logging = found.get("logging")
        if any(traits(rule.action).resizes for rule in rules) and not (logging and logging.heartbeat):
            base = logging if logging is not None else EnsembleSpec().logging
            found["logging"] = structs.replace(base, heartbeat=HEARTBEAT)
        return EnsembleSpec(directory=self.directory, **found)

    # ---- spellings ---------------------------------------------------------------------------------

    def groups(self, tree: Tree, where: str) -> tuple[GroupSpec, ...]:
        found = tuple(self.items(tree, self.group, where))
        if not found:
            self.complain(tree, where, "there are no jobs; an ensemble is at least one group of jobs")
            raise Failed
        return found

    def group(self, tree: Tree, where: str) -> GroupSpec:
        found = self.struct(tree, GroupSpec, where)
        if "parameters" in found:
            place = tree.value["parameters"][1]
            axes, points = self.attempt(
                place, f"{where}.parameters", lambda: expand(found["parameters"], self.seed, self.directory)
            )
            found["axes"], found["points"] = axes, points
        group = GroupSpec(**found)
        if isinstance(group.nodes, int) and isinstance(group.tasks, int) and group.tasks < group.nodes:
            group = structs.replace(group, tasks=group.nodes)
        return group

    def rules(self, tree: Tree, where: str) -> tuple[RuleSpec, ...]:
        return tuple(self.items(tree, self.rule, where))

    def rule(self, tree: Tree, where: str) -> RuleSpec:
        return RuleSpec(**self.struct(tree, RuleSpec, where))

    def trigger(self, tree: Tree, where: str) -> str:
        text = self.text(tree, where)
        if text in TRIGGERS or text.startswith("job-native-"):
            return text
        if text.startswith("member-"):
            if text[7:] not in MEMBER_EVENTS:
                known = [f"member-{name}" for name in MEMBER_EVENTS]
                self.complain(tree, where, f"{text!r} is not a trigger", nearest(text, known))
                raise Failed
            return text
        if text in FLUX_TRIGGERS:
            return FLUX_TRIGGERS[text]
        self.complain(tree, where, f"{text!r} is not a trigger", nearest(text, TRIGGERS))
        raise Failed

    def action(self, tree: Tree, where: str) -> ActionSpec:
        if isinstance(tree.value, str):
            tree = Tree({"name": (tree, tree)}, tree.place)
        found = self.struct(tree, ActionSpec, where)
        if found.get("rule") and isinstance(tree.value, dict):
            self.added[f"{where}.rule"] = self.rule(tree.value["rule"][1], f"{where}.rule")
        if found.get("parameters"):
            place = tree.value["parameters"][1]
            _, found["points"] = self.attempt(
                place, f"{where}.parameters", lambda: expand(found["parameters"], self.seed, self.directory)
            )
        return ActionSpec(**found)

    def action_name(self, tree: Tree, where: str) -> str:
        return actions()[self.choice(tree, where, action_names(), "action")].name

    def repetitions(self, tree: Tree, where: str) -> int:
        if tree.value == "unlimited":
            return UNLIMITED
        if tree.value == UNLIMITED and not tree.place.line:
            return UNLIMITED
        if isinstance(tree.value, str):
            self.complain(tree, where, f"{tree.kind} where a whole number or `unlimited` was expected")
            raise Failed
        return self.whole(tree, where, 1)

    def duration(self, tree: Tree, where: str) -> float:
        if isinstance(tree.value, (dict, list)) or tree.value is None:
            self.complain(tree, where, f"{tree.kind} where a duration such as 90s, 20m or 2h was expected")
            raise Failed
        value = tree.raw if isinstance(tree.value, (str, bool)) else tree.value
        return self.attempt(tree, where, lambda: parse_duration(value))  # type: ignore[no-any-return]

    def period(self, tree: Tree, where: str) -> float:
        found = self.duration(tree, where)
        if not found:
            self.complain(tree, where, "an interval of 0 seconds would fire without end")
            raise Failed
        return found

    def positive_duration(self, tree: Tree, where: str) -> float:
        found = self.duration(tree, where)
        if not found:
            self.complain(tree, where, "a limit of 0 seconds lets nothing run; leave the key out for no limit")
            raise Failed
        return found

    def walltime(self, tree: Tree, where: str) -> float | str:
        if isinstance(tree.value, str) and "{" in tree.value:
            return tree.raw
        return self.duration(tree, where)

    def quantity(self, tree: Tree, where: str, least: int) -> int | str:
        if isinstance(tree.value, str) and "{" in tree.value:
            return tree.raw
        return self.whole(tree, where, least)

    def condition(self, tree: Tree, where: str) -> str | float | None:
        if tree.value is None:
            return None
        if isinstance(tree.value, (bool, dict, list)):
            self.complain(tree, where, f"{tree.kind} where text or a number was expected")
            raise Failed
        return self.text(tree, where) if isinstance(tree.value, str) else self.number(tree, where)

    def axes(self, tree: Tree, where: str) -> str | tuple[str, ...]:
        if not isinstance(tree.value, list):
            return self.text(tree, where)
        found = tuple(self.items(tree, self.text, where))
        if not found:
            self.complain(tree, where, "there is no axis in this list")
            raise Failed
        if len(set(found)) < len(found):
            self.complain(tree, where, f"an axis is named twice: {', '.join(found)}")
            raise Failed
        return found[0] if len(found) == 1 else found

    def added_rule(self, tree: Tree, where: str) -> dict[str, Any] | None:
        return None if tree.value is None else self.anything_by_name(tree, where)

    def limits(self, tree: Tree, where: str) -> LimitsSpec:
        return LimitsSpec(**self.struct(tree, LimitsSpec, where))

    def logging(self, tree: Tree, where: str) -> LoggingSpec:
        return LoggingSpec(**self.struct(tree, LoggingSpec, where))

    def retries(self, tree: Tree, where: str) -> RetrySpec:
        if isinstance(tree.value, dict):
            return RetrySpec(**self.struct(tree, RetrySpec, where))
        return RetrySpec(limit=self.whole(tree, where, 0))

    def outputs(self, tree: Tree, where: str) -> dict[str, OutputRule]:
        if not isinstance(tree.value, dict):
            self.complain(tree, where, f"{tree.kind} where a mapping from names to patterns was expected")
            raise Failed
        found = {}
        for key, (key_tree, value) in tree.value.items():
            inner = f"{where}.{key}"
            if not key.isidentifier():
                self.complain(key_tree, inner, f"{key!r} cannot be the name of a figure", "Letters, digits and `_`.")
                raise Failed
            if isinstance(value.value, dict):
                rule = OutputRule(**self.struct(value, OutputRule, inner))
            else:
                rule = OutputRule(pattern=self.text(value, inner))
            found[key] = self._output(value, inner, rule)
        return found

    def _output(self, tree: Tree, where: str, rule: OutputRule) -> OutputRule:
        given = [name for name in ("pattern", "pointer", "function") if getattr(rule, name)]
        if len(given) != 1:
            what = "none of them" if not given else " and ".join(given)
            self.complain(tree, where, f"a figure needs one of pattern, pointer and function, and has {what}")
            raise Failed
        if rule.pattern:
            try:
                groups = re.compile(rule.pattern).groups
            except re.error as error:
                self.complain(tree, where, f"{rule.pattern!r} is not a regular expression: {error}")
                raise Failed from None
            if not groups and rule.take != "count":
                self.complain(tree, where, f"{rule.pattern!r} has no group", "Put the number in parentheses.")
                raise Failed
        if rule.pointer and not rule.pointer.startswith("/"):
            self.complain(tree, where, f"{rule.pointer!r} is not a JSON pointer, which begins with `/`")
            raise Failed
        return rule

    def inputs(self, tree: Tree, where: str) -> tuple[FileInput, ...]:
        return tuple(self.items(tree, self._input, where))

    def _input(self, tree: Tree, where: str) -> FileInput:
        if not isinstance(tree.value, dict):
            path = self.text(tree, where)
            return FileInput(os.path.basename(path.rstrip("/")), self._existing(tree, where, path))
        keys = {key: value for key, (_, value) in tree.value.items()}
        for key, (key_tree, _) in tree.value.items():
            if key not in ("path", "render", "to", "text"):
                self.complain(key_tree, where, f"{key!r} is not a key here", nearest(key, ("path", "render", "to")))
                raise Failed
        source = keys.get("render") or keys.get("path")
        if "text" in keys and "to" in keys:
            return FileInput(self.text(keys["to"], where), text=self.text(keys["text"], where))
        if source is None or ("render" in keys and "path" in keys):
            self.complain(tree, where, "an input is a file name, {path, to} or {render, to}")
            raise Failed
        path = self.text(source, where)
        target = self.text(keys["to"], where) if "to" in keys else os.path.basename(path)
        full = self._existing(source, where, path)
        if "render" not in keys:
            return FileInput(target, full)
        try:
            return FileInput(target, text=Path(full).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            self.complain(source, where, f"{path} cannot be rendered: {error}")
            raise Failed from None

    def _existing(self, tree: Tree, where: str, path: str) -> str:
        full = os.path.join(self.directory, path)
        if "{" not in path and not os.path.exists(full):
            self.complain(tree, where, f"{path}: no such file beside the ensemble file")
            raise Failed
        return full

    def members(self, tree: Tree, where: str) -> dict[str, MemberSpec]:
        if not isinstance(tree.value, dict) or not tree.value:
            self.complain(tree, where, f"{tree.kind} where a mapping from names to members was expected")
            raise Failed
        found = {}
        for key, (key_tree, value) in tree.value.items():
            inner = f"{where}.{key}"
            self.name(key_tree, inner)
            if isinstance(value.value, dict):
                fields = self._member(value, inner)
                fields.setdefault("kind", key)
                found[key] = MemberSpec(**fields)
            else:
                found[key] = MemberSpec(kind=key if value.value is None else self.text(value, inner))
        return found

    def _member(self, tree: Tree, where: str) -> dict[str, Any]:
        rest = dict(tree.value)
        sizes: dict[str, Any] = {}
        if "nodes" in rest and isinstance(rest["nodes"][1].value, dict):
            _, nodes = rest.pop("nodes")
            for key, (key_tree, value) in nodes.value.items():
                if key not in ("min", "max", "start"):
                    self.complain(
                        key_tree, f"{where}.nodes", f"{key!r} is not a key here", nearest(key, ("min", "max", "start"))
                    )
                    raise Failed
                sizes[key] = self.whole(value, f"{where}.nodes.{key}", 0 if key == "min" else 1)
            if sizes.get("max", sizes.get("min", 1)) < sizes.get("min", 0):
                self.complain(nodes, f"{where}.nodes", f"max {sizes['max']} is below min {sizes['min']}")
                raise Failed
        fields = self.struct(Tree(rest, tree.place), MemberSpec, where)
        if sizes:
            fields["nodes"] = sizes.get("start", max(1, sizes.get("min", 1)))
            fields["min_nodes"] = sizes.get("min", 0)
            fields["max_nodes"] = sizes.get("max", 0)
        if "price" in fields:
            fields["price"], fields["currency"] = fields["price"]
        return fields

    def price(self, tree: Tree, where: str) -> tuple[float, str]:
        value = tree.raw if isinstance(tree.value, str) else tree.value
        return self.attempt(tree, where, lambda: parse_price(value))  # type: ignore[no-any-return]

    def algorithm(self, tree: Tree, where: str) -> AlgorithmSpec | None:
        if tree.value is None:
            return None
        if isinstance(tree.value, dict):
            return AlgorithmSpec(**self.struct(tree, AlgorithmSpec, where))
        return AlgorithmSpec(name=self.text(tree, where))

    def limit_number(self, tree: Tree, where: str) -> float:
        value = tree.raw.split()[0] if isinstance(tree.value, str) and tree.raw.split() else None
        number = self.number(Tree(value, tree.place, tree.raw) if value is not None else tree, where)
        if number <= 0:
            self.complain(tree, where, f"a limit of {tree.raw} lets nothing run; leave the key out for no limit")
            raise Failed
        return number

    def limit_count(self, tree: Tree, where: str) -> int:
        number = self.whole(tree, where)
        if number <= 0:
            self.complain(tree, where, f"a limit of {number} lets nothing run; leave the key out for no limit")
            raise Failed
        return number

    def positive_number(self, tree: Tree, where: str) -> int | float:
        value = tree.value
        if isinstance(value, int) and not isinstance(value, bool):
            return self.whole(tree, where, 1)
        number = self.number(tree, where)
        if number <= 0:
            self.complain(tree, where, f"{tree.raw} is too small: it must be above 0")
            raise Failed
        return number

    def environment(self, tree: Tree, where: str) -> dict[str, str]:
        found = self.text_by_name(tree, where)
        for key in found:
            self._variable(key, tree, where)
        return found

    def variables(self, tree: Tree, where: str) -> tuple[str, ...]:
        return tuple(self.items(tree, lambda one, inner: self._variable(self.text(one, inner), one, inner), where))

    def _variable(self, name: str, tree: Tree, where: str) -> str:
        if not name or "=" in name:
            self.complain(tree, where, f"{name!r} cannot be the name of an environment variable")
            raise Failed
        return name


_OWNERS: Final = (
    (EnsembleSpec, "the ensemble itself"),
    (GroupSpec, "a group (in `jobs`)"),
    (RuleSpec, "a rule"),
    (ActionSpec, "an action"),
    (RetrySpec, "`retries`"),
    (LimitsSpec, "`limits`"),
    (LoggingSpec, "`logging`"),
    (MemberSpec, "a member"),
)
"""Where a key belongs that stands in a wrong place."""
