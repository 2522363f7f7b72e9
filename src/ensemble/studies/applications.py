"""An application of a cell as a group of an ensemble file."""

from __future__ import annotations

__all__ = ["application_group"]

from collections.abc import Mapping
from typing import Any

from ensemble.model.errors import InputError
from ensemble.model.jobs import FileInput
from ensemble.spec.convert import nearest
from ensemble.spec.keys import keys_of
from ensemble.spec.model import OutputRule
from ensemble.studies.recipes import Cell, Problem


def application_group(cell: Cell, problem: str) -> dict[str, Any]:
    """The group that runs the application of a cell on a problem, without name, tasks and points.

    Its texts have the placeholder `{size}`. Raises `InputError` naming the nearest problem where there is none of that
    name.
    """
    application = cell.application
    chosen = application.problems.get(problem)
    if chosen is None:
        hint = nearest(problem, sorted(application.problems))
        raise InputError(f"{application.name} has no problem {problem!r}. {hint}")
    group: dict[str, Any] = {"command": chosen.command}
    given = {
        "setup": chosen.setup,
        "env": dict(chosen.env),
        "inputs": [_input(one) for one in chosen.inputs],
        "outputs": _outputs(application.outputs, chosen),
        "valid": chosen.valid or application.valid,
    }
    return group | {key: value for key, value in given.items() if value}


def _input(one: FileInput) -> dict[str, str]:
    return {"path": one.path, "to": one.to} if one.text is None else {"text": one.text, "to": one.to}


def _outputs(common: Mapping[str, OutputRule], problem: Problem) -> dict[str, dict[str, Any]]:
    return {name: _plain(rule) for name, rule in {**common, **problem.outputs}.items()}


def _plain(rule: OutputRule) -> dict[str, Any]:
    """What a rule says, by the keys of the file."""
    values = {key.name: (getattr(rule, key.field), key.default) for key in keys_of(OutputRule)}
    return {name: value for name, (value, default) in values.items() if value != default}
