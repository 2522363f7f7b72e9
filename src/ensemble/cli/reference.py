"""The reference of the command line as Markdown, from the commands themselves: `docs/cli.md`.

`python -m ensemble.cli.reference > docs/cli.md` writes it anew; a test holds the file against it.
"""

from __future__ import annotations

__all__ = ["reference"]

from collections.abc import Iterator
from textwrap import dedent

import click

from ensemble.cli.main import VERBS, ensemble


def reference() -> str:
    """Every verb with its arguments and options."""
    return "\n".join(_lines()).rstrip() + "\n"


def _lines() -> Iterator[str]:
    context = click.Context(ensemble, info_name="ensemble")
    yield "<!-- Written by `python -m ensemble.cli.reference > docs/cli.md`; edit the help texts in the code. -->"
    yield from ("# The command line", "", *_paragraphs(ensemble), "")
    yield "Exit codes: 0 success, 1 the ensemble failed, 2 bad input, 3 limit reached, 130 interrupted."
    yield from ("", "| verb | |", "|---|---|")
    for verb, short in VERBS.items():
        yield f"| [`{verb}`](#ensemble-{verb}) | {short} |"
    for verb in VERBS:
        command = ensemble.get_command(context, verb)
        if command is not None:
            yield from _command(command, click.Context(command, info_name=verb, parent=context))


def _command(command: click.Command, context: click.Context) -> Iterator[str]:
    yield from ("", f"## {context.command_path}", "")
    yield from ("```text", " ".join([context.command_path, *command.collect_usage_pieces(context)]), "```", "")
    yield from _paragraphs(command)
    options = [one for one in command.params if isinstance(one, click.Option) and not one.hidden]
    if options:
        yield from ("", "| option | default | meaning |", "|---|---|---|")
        for option in options:
            yield _option(option, context)
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner is not None
            yield from _command(inner, click.Context(inner, info_name=name, parent=context))


def _paragraphs(command: click.Command) -> Iterator[str]:
    for line in dedent(command.help or "").strip().splitlines():
        yield line.strip()


def _option(option: click.Option, context: click.Context) -> str:
    names = ", ".join(f"`{name}`" for name in (*option.opts, *option.secondary_opts))
    value = "" if option.is_flag or option.count else f" {_value(option, context)}"
    default = option.default
    shown = f"`{default}`" if isinstance(default, str | int | float) and default and not option.is_flag else ""
    return f"| {names}{value} | {shown} | {_cell(option.help or '')} |"


def _cell(text: str) -> str:
    """Text of one cell: no bar ends it, and outside code no `<` begins a tag."""
    parts = text.replace("|", "\\|").split("`")
    return "`".join(part if index % 2 else part.replace("<", "\\<") for index, part in enumerate(parts))


def _value(option: click.Option, context: click.Context) -> str:
    if isinstance(option.type, click.Choice):
        return ", ".join(str(choice) for choice in option.type.choices)
    if isinstance(option.type, click.IntRange | click.FloatRange):
        low, high = option.type.min, option.type.max
        return f"{low} to {high}" if high is not None else f"{low} or more"
    return option.make_metavar(context)


if __name__ == "__main__":
    click.echo(reference(), nl=False)
