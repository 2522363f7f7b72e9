"""What verbs do with `--server`."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click
import msgspec

from ensemble.cli.common import say

if TYPE_CHECKING:
    from ensemble.model.decisions import Record
    from ensemble.report.live import Live
    from ensemble.service.client import Client

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")
_NAMES = ("token_file", "tls_ca", "tls_cert", "tls_key")


def server_options(function: F) -> F:
    """`--server ADDRESS` and what it takes to get in."""
    for option in (
        click.option("--tls-key", default="", expose_value=False, callback=_note, help="Its key."),
        click.option("--tls-cert", default="", expose_value=False, callback=_note, help="Our certificate."),
        click.option("--tls-ca", default="", expose_value=False, callback=_note, help="What verifies the server."),
        click.option(
            "--token-file",
            default="",
            envvar="ENSEMBLE_TOKEN_FILE",
            expose_value=False,
            callback=_note,
            help="File with the token for the server.",
        ),
        click.option("--server", default="", is_eager=True, metavar="ADDRESS", help="On the server there."),
    ):
        function = option(function)
    return function


def _note(ctx: click.Context, param: click.Parameter, value: str) -> None:
    ctx.meta[f"ensemble.{param.name}"] = value


def on_server(address: str, work: Callable[[Client], Awaitable[T]]) -> T:
    """Do something with a server. Raises `InputError` where the service's packages are missing."""
    try:
        from ensemble.service.client import Client
        from ensemble.session.security import Security
    except ModuleNotFoundError as error:
        from ensemble.model.errors import InputError

        raise InputError(f"--server needs {error.name}: pip install 'ensemble-hpc[service]'") from error
    meta = click.get_current_context().meta
    token, ca, cert, key = (meta.get(f"ensemble.{name}", "") for name in _NAMES)

    async def inside() -> T:
        async with Client(address, Security(ca, cert, key, token)) as client:
            return await work(client)

    return asyncio.run(inside())


async def run(client: Client, file: str, output: str, debug: bool, detach: bool, **more: Any) -> int:
    """Hand a file over and show what becomes of it, unless `detach`. Ctrl-C stops the showing, not the run."""
    answer = await client.submit(file, **more)
    for warning in answer.warnings if output == "human" else ():
        click.echo(f"warning: {warning.file}:{warning.line}:{warning.column}: {warning.message}", err=True)
    if detach:
        text = f"{answer.run} runs at the server; `ensemble watch --server` shows it"
        say(output, text, {"name": answer.run, "path": answer.run_dir})
        return 0
    show = _Show(answer.run, answer.run_dir, output, debug)
    return await show.follow(client)


async def resume(client: Client, name: str, output: str) -> int:
    """Go on with a run that was left and show what becomes of it. Ctrl-C stops the showing, not the run."""
    show = _Show((await client.status(name)).run, "", output)
    async for record in client.events(show.run):
        show.pass_over(record)
    await client.resume(show.run)
    return await show.follow(client)


class _Show:
    """Shows a run by its records as they come."""

    def __init__(self, run: str, run_dir: str, output: str, debug: bool = False) -> None:
        self.run, self._run_dir, self._output, self._debug = run, run_dir, output, debug
        self._live: Live | None = None
        self._seq = 0

    def _take(self, record: Record) -> Live | None:
        from ensemble.model.events import RunStarted
        from ensemble.report.live import Live
        from ensemble.spec.model import EnsembleSpec

        self._seq = record.seq
        if isinstance(record.event, RunStarted):
            spec = msgspec.convert(record.event.spec, EnsembleSpec)
            if self._debug:
                spec = msgspec.structs.replace(spec, logging=msgspec.structs.replace(spec.logging, debug=True))
            self._live = Live(spec, self._output)
            self._run_dir = record.event.run_dir
        return self._live

    def pass_over(self, record: Record) -> None:
        """Take in what was, without showing it."""
        live = self._take(record)
        if live is not None:
            live.engine.apply(record)

    async def follow(self, client: Client) -> int:
        """Show what comes from here on, and how it ends. Returns the exit code."""
        from ensemble.runtime.loop import EXIT_CODES, RunResult

        try:
            async for record in client.events(self.run, self._seq, follow=True):
                live = self._take(record)
                if live is not None:
                    live.observe(record)
        except asyncio.CancelledError:
            click.echo(f"{self.run} goes on at the server; `ensemble watch --server` shows it", err=True)
            return 130
        status = await client.status(self.run)
        outcome = status.outcome or "detached"
        if self._live is None:
            click.echo(f"ensemble: {self.run}: {status.reason}", err=True)
            return 1
        code = EXIT_CODES.get(outcome, 1)
        self._live.close(RunResult(self.run, self._run_dir, outcome, status.reason, code, status))
        return code


async def list_runs(client: Client, output: str) -> None:
    """The runs of a server."""
    from ensemble.report.text import table
    from ensemble.session.v1 import ensembles_pb2 as pb

    runs = await client.runs()
    rows, data = [], []
    for one in runs:
        phase = pb.RunPhase.Name(one.phase).removeprefix("RUN_PHASE_").lower()
        begun = time.strftime("%Y-%m-%d %H:%M", time.localtime(one.started)) if one.started else "-"
        rows.append([one.run, begun, one.outcome or phase, one.by, one.reason])
        data.append({"name": one.run, "created": one.started, "path": one.run_dir, "phase": phase, "by": one.by})
        data[-1] |= {"outcome": one.outcome, "reason": one.reason}
    say(output, table(["run", "begun", "state", "by", "reason"], rows) if rows else "there are no runs yet", data)


async def show_status(client: Client, run: str, output: str) -> None:
    """How a run stands."""
    from ensemble.report.text import closing

    status = await client.status(run)
    say(output, closing(status), status)


async def print_events(client: Client, run: str, after: int, follow: bool) -> None:
    """Records as JSON lines."""
    async for record in client.events(run, after, follow):
        sys.stdout.buffer.write(msgspec.json.encode(record) + b"\n")
        if follow:
            sys.stdout.buffer.flush()


async def print_logs(client: Client, run: str, key: str, name: str, attempt: int) -> None:
    """What a job wrote, as it is."""
    async for data in client.logs(run, key, name, attempt):
        sys.stdout.buffer.write(data)


async def explain(client: Client, run: str, rule: str, output: str) -> None:
    """Why rules fired."""
    from ensemble.report.history import History
    from ensemble.report.text import explanation

    rules = await client.explain(run, rule)
    history = History()
    async for record in client.events(run):
        history.add(record)
    data = [{"rule": one, "history": history.lines.get(one.id, [])} for one in rules]
    say(output, explanation(rules, history.lines, await client.status(run)), data)


async def watch(client: Client, run: str) -> None:
    """One line whenever a run changed."""
    from ensemble.report.text import progress

    async for status in client.watch(run):
        click.echo(progress(status))


async def cancel(client: Client, run: str, keys: tuple[str, ...], drain: bool) -> None:
    """Ask a run to end."""
    await client.cancel(run, keys, drain)
    what = f"cancel {', '.join(keys)}" if keys else "drain" if drain else "cancel"
    click.echo(f"{run} was asked to {what}")
