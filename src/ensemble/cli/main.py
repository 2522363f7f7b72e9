"""The entry point: finds the verb."""

from __future__ import annotations

from functools import cached_property
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

import click

from ensemble.program import run_program

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

VERBS: Final = {
    "run": "Run an ensemble.",
    "check": "Find mistakes in a file before anything is spent.",
    "simulate": "Run an ensemble in virtual time.",
    "resume": "Continue a run whose process ended.",
    "status": "Show the state of a run.",
    "explain": "Show why rules fired and what they wait for.",
    "results": "Print one row for each job or point.",
    "events": "Print the events of a run and the decisions that followed.",
    "logs": "Print the output of a job.",
    "watch": "Print the state of a run whenever it changes.",
    "list": "List the runs.",
    "compare": "Compare two runs.",
    "update": "Let a run follow a changed file.",
    "cancel": "Cancel a run, or some of its jobs.",
    "verify": "Repeat the decisions of a run and compare them with its journal.",
    "save": "Push a run to a registry, and verify it there.",
    "fetch": "Get a saved run from a registry.",
    "replay": "Show and verify a saved run.",
    "journal": "Repair a damaged journal.",
    "rm": "Delete a run.",
    "agent": "Connect a queue to a service.",
    "study": "Measure applications and generate experiments.",
    "schema": "Print the JSON Schema of the file format.",
    "version": "Print version numbers.",
}
"""The verbs that come with Ensemble, in the order of use: each is the module of its name in this package, which has a
`command`. Other packages add theirs with an entry point in the group `ensemble.verbs` that names a command."""


class Verbs(click.Group):
    """Verbs by name, each the module of its name in a package, which has a `command`; it is loaded when it is called.

    `entries` is the group of entry points by which other packages add verbs, or nothing.
    """

    def __init__(self, *args: Any, own: dict[str, str], package: str, entries: str = "", **more: Any) -> None:
        super().__init__(*args, **more)
        self.own, self.package, self.entries = own, package, entries

    @cached_property
    def others(self) -> dict[str, EntryPoint]:
        """The verbs of other packages."""
        from importlib.metadata import entry_points

        found = entry_points(group=self.entries) if self.entries else ()
        return {entry.name: entry for entry in found if entry.name not in self.own}

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All verbs, in the order of use."""
        return [*self.own, *self.others]

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """The verb of that name."""
        command: click.Command
        if name in self.own:
            command = import_module(f"{self.package}.{name}").command
            return command
        if name not in self.others:
            return None
        try:
            command = self.others[name].load()
        except Exception as error:
            raise click.ClickException(f"the verb {name!r} of another package does not load: {error}") from error
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list in `--help`, without loading any verb."""
        others = {name: f"From {entry.value.partition(':')[0]}." for name, entry in self.others.items()}
        if lines := [*self.own.items(), *others.items()]:
            with formatter.section("Verbs"):
                formatter.write_dl(lines)

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        """Find the verb, or name the nearest."""
        if args and not args[0].startswith("-") and args[0] not in self.own and args[0] not in self.others:
            from difflib import get_close_matches

            close = get_close_matches(args[0], self.list_commands(ctx), 1)
            hint = f" Did you mean {close[0]}?" if close else ""
            ctx.fail(f"there is no verb {args[0]!r}.{hint}")
        return super().resolve_command(ctx, args)


@click.command(
    cls=Verbs,
    own=VERBS,
    package="ensemble.cli",
    entries="ensemble.verbs",
    context_settings={"help_option_names": ["-h", "--help"]},
)
def ensemble() -> None:
    """Run many HPC jobs, steered while they run by rules that react to the jobs' own events.

    A RUN is `last`, the name of a run, or its directory.
    """


def main() -> None:
    """Run the command line. Exit codes: 0 success, 1 failed, 2 bad input, 3 limit reached, 130 interrupted."""
    run_program(ensemble, "ensemble")
