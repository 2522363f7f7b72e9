"""The entry point: finds the verb, turns errors into messages and exit codes."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import Any

import click

VERBS = {
    "run": "Run an ensemble.",
    "check": "Find what is wrong with a file, before anything is spent.",
    "simulate": "Run it in virtual time, before anything is spent.",
    "resume": "Go on with a run whose process ended.",
    "status": "How a run stands.",
    "explain": "Why rules fired, or what they wait for.",
    "results": "One row a job, or a point.",
    "events": "The events of a run and what was decided on them.",
    "logs": "What a job wrote.",
    "watch": "How a run of a server stands, as it changes.",
    "list": "The runs there are.",
    "compare": "Two runs side by side.",
    "cancel": "Ask a run to end.",
    "verify": "Decide a run again and compare with its journal.",
    "journal": "Look after a damaged journal.",
    "rm": "Remove a run.",
    "agent": "Be the end of a session beside a queue.",
    "schema": "JSON Schema of the file, for editors.",
    "version": "Which version this is.",
}


class Verbs(click.Group):
    """Loads the module of a verb when it is called, so that `--help` costs nothing."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All verbs, in the order of use."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """The verb of that name."""
        if name not in VERBS:
            return None
        command: click.Command = import_module(f"ensemble.cli.{name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list in `--help`, without loading any verb."""
        with formatter.section("Verbs"):
            formatter.write_dl(list(VERBS.items()))

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        """Find the verb, or say which is nearest."""
        if args and args[0] not in VERBS and not args[0].startswith("-"):
            from difflib import get_close_matches

            close = get_close_matches(args[0], list(VERBS), 1)
            hint = f" Did you mean {close[0]}?" if close else ""
            ctx.fail(f"there is no verb {args[0]!r}.{hint}")
        return super().resolve_command(ctx, args)


@click.command(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"]})
def ensemble() -> None:
    """Run many HPC jobs, steered while they run by rules that react to the jobs' own events.

    A RUN is `last`, a run's name or its directory.
    """


def main() -> None:
    """Run the command line. Exit codes: 0 success, 1 failed, 2 bad input, 3 limit reached, 130 interrupted."""
    from ensemble.model.errors import EnsembleError, InputError

    try:
        ensemble.main(standalone_mode=False)
        code = 0
    except click.exceptions.Exit as error:
        code = error.exit_code
    except click.Abort:
        code = 130
    except click.ClickException as error:
        error.show()
        code = 2
    except InputError as error:
        print(f"ensemble: {error}", file=sys.stderr)
        code = 2
    except EnsembleError as error:
        print(f"ensemble: {error}", file=sys.stderr)
        code = 1
    except BrokenPipeError:
        # whoever read us has gone; that is no error of ours
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        code = 0
    except KeyboardInterrupt:
        code = 130
    except Exception as error:
        code = 1
        print(f"ensemble: a fault of ours: {type(error).__name__}: {error}. {_save_traceback()}", file=sys.stderr)
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    sys.exit(code)


def _save_traceback() -> str:
    import tempfile
    import traceback

    try:
        with tempfile.NamedTemporaryFile("w", prefix="ensemble-", suffix=".txt", delete=False) as file:
            traceback.print_exc(file=file)
        return f"The details are in {file.name}; please report them."
    except OSError:
        return "Please report it."
