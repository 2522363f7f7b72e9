"""What verbs share: the RUN argument, the --output option, the file argument."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec

F = TypeVar("F", bound=Callable[..., Any])


def _complete(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    from ensemble.runtime import index

    names = ["last", *dict.fromkeys(run.name for run in index.known())]
    return [name for name in names if name.startswith(incomplete)]


class RunArgument(click.ParamType):  # type: ignore[type-arg]
    """`last`, a name or a path, turned into the run's directory."""

    name = "RUN"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """Find the run."""
        from ensemble.runtime import index

        if ctx is not None and ctx.params.get("server"):
            return Path(str(value))  # the server knows it
        return value if isinstance(value, Path) else index.find(value)


def run_argument(name: str = "run_dir", default: str | None = "last") -> Callable[[F], F]:
    """The argument RUN; `last` when it is left out."""
    return click.argument(
        name, type=RunArgument(), default=default, required=default is None, shell_complete=_complete, metavar="RUN"
    )


def output_option(function: F) -> F:
    """`--output human|json|quiet`."""
    return click.option(
        "--output", "-o", type=click.Choice(["human", "json", "quiet"]), default="human", help="How to say it."
    )(function)


def show_warnings(warnings: Iterable[object], output: str) -> None:
    """Print what looks like a mistake, for people."""
    for warning in warnings if output == "human" else ():
        click.echo(f"warning: {warning}", err=True)


def say(output: str, text: str, data: Any = None) -> None:
    """Print text for people or data for programs."""
    if output == "human":
        click.echo(text)
    elif output == "json":
        click.echo(json.dumps(msgspec.to_builtins(data), allow_nan=False))
