"""What verbs share in their command lines: the verb itself, the argument RUN, the options of a server, `--output`."""

from __future__ import annotations

__all__ = ["Verb", "output_option", "registry_option", "run_argument", "runs_options", "verb"]

from collections.abc import Callable
from functools import partial, wraps
from typing import Any, Final, TypeVar

import click

from ensemble.cli.output import Output

F = TypeVar("F", bound=Callable[..., Any])

_SERVER: Final = ("server", "token_file", "tls_ca", "tls_cert", "tls_key")


class Verb(click.Command):
    """A command whose help shows the options for a server as a group of their own."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the two groups."""
        own: list[tuple[str, str]] = []
        server: list[tuple[str, str]] = []
        for param in self.get_params(ctx):
            line = param.get_help_record(ctx)
            if line is not None and isinstance(param, click.Option):
                (server if param.name in _SERVER else own).append(line)
        for title, lines in (("Options", own), ("Server options", server)):
            if lines:
                with formatter.section(title):
                    formatter.write_dl(lines)


verb: Final = partial(click.command, cls=Verb)
"""`@verb("name")` makes a verb of a function."""


def runs_options(function: F) -> F:
    """Adds `--server` and what it takes to connect; the function is given the `runs` of that server, or of here."""

    @wraps(function)
    def with_runs(*args: Any, server: str, **given: Any) -> Any:
        from ensemble.runs import open_runs

        with open_runs(server, **{name: given.pop(name) for name in _SERVER[1:]}) as runs:
            return function(*args, runs=runs, **given)

    decorated: Any = with_runs
    for option in (
        click.option("--tls-key", default="", metavar="FILE", help="Private key of the client certificate."),
        click.option("--tls-cert", default="", metavar="FILE", help="Client certificate, if the server asks for one."),
        click.option("--tls-ca", default="", metavar="FILE", help="CA certificate that verifies the server."),
        click.option(
            "--token-file",
            default="",
            metavar="FILE",
            envvar="ENSEMBLE_TOKEN_FILE",
            help="File that holds the token for the server. [env: ENSEMBLE_TOKEN_FILE]",
        ),
        click.option(
            "--server",
            default="",
            metavar="ADDRESS",
            envvar="ENSEMBLE_SERVER",
            help="Use the runs of this server (HOST:PORT or unix:PATH). [env: ENSEMBLE_SERVER]",
        ),
    ):
        decorated = option(decorated)
    return decorated  # type: ignore[no-any-return]


def run_argument(name: str = "run", default: str | None = "last") -> Callable[[F], F]:
    """The argument RUN; `last` when it is left out."""
    return click.argument(name, default=default, required=default is None, shell_complete=_complete, metavar="RUN")


def _complete(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    from ensemble.runtime import index

    names = ["last", *dict.fromkeys(run.name for run in index.known())]
    return [name for name in names if name.startswith(incomplete)]


def registry_option(function: F) -> F:
    """Adds `--plain-http`, for what a registry is asked."""

    @wraps(function)
    def with_client(*args: Any, **given: Any) -> Any:
        try:
            return function(*args, **given)
        except ModuleNotFoundError as error:
            from ensemble.model.errors import InputError

            if error.name != "httpx2":
                raise
            raise InputError(f"a registry needs {error.name}: pip install 'ensemble-hpc[artifacts]'") from error

    help_text = "Talk to the registry without TLS, as is done on this machine anyway."
    decorated: Any = click.option("--plain-http", is_flag=True, help=help_text)(with_client)
    return decorated  # type: ignore[no-any-return]


def output_option(function: F, *, letter: str = "-o") -> F:
    """Adds `--output`; the function is given an `Output`. `letter` is its short form, if it has one."""
    return click.option(
        "--output",
        *filter(None, [letter]),
        type=click.Choice(["human", "json", "quiet"]),
        default="human",
        show_default=True,
        callback=lambda _ctx, _param, form: Output(form),
        help="Text for people, JSON for programs, or nothing but errors.",
    )(function)
