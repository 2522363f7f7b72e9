"""`ensemble agent`."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from collections.abc import Coroutine
from typing import Any

import click

from ensemble.cli.options import output_option, verb
from ensemble.cli.output import Output


@verb("agent")
@click.option("--member", "kind", default="local", show_default=True, help="Kind of the queue, such as flux.")
@click.option("--connect", metavar="ADDRESS", default="", help="Connect to the service at HOST:PORT or unix:PATH.")
@click.option("--listen", metavar="ADDRESS", default="", help="Wait for the service on HOST:PORT, :PORT or unix:PATH.")
@click.option("--run", default="", help="Serve only this run.")
@click.option("--name", default="", help="Name of the member in the file; with --connect, unless the token has it.")
@click.option("--base", default="", help="Directory for runs on this machine.  [default: as the service says]")
@click.option("--workers", default=0, type=click.IntRange(0), help="Calls served at a time.  [default: any number]")
@click.option("--token-file", default="", metavar="FILE", help="File with the token to send, or to ask for.")
@click.option("--tls-ca", default="", metavar="FILE", help="CA certificate that verifies the other side.")
@click.option("--tls-cert", default="", metavar="FILE", help="Certificate of this agent.")
@click.option("--tls-key", default="", metavar="FILE", help="Private key of that certificate.")
@click.option("--tls-name", default="", help="Name in the other side's certificate, if it is not the address.")
@output_option
def command(
    kind: str,
    connect: str,
    listen: str,
    run: str,
    name: str,
    base: str,
    workers: int,
    token_file: str,
    tls_ca: str,
    tls_cert: str,
    tls_key: str,
    tls_name: str,
    output: Output,
) -> None:
    """Connect a queue to a service. Run this where the queue's commands work.

    With --connect the agent connects to the service and ends with the run. With --listen it waits for connections until
    it is stopped. Stopping it stops no job. A TCP address needs a token, and one that other machines can reach also
    needs TLS. A Unix socket needs neither: only its owner can open it.
    """
    if bool(connect) == bool(listen):
        raise click.UsageError("give either --connect ADDRESS or --listen ADDRESS")
    if bool(tls_cert) != bool(tls_key):
        raise click.UsageError("--tls-cert and --tls-key go together")
    if kind == "remote":
        raise click.UsageError("an agent cannot serve a remote member; give the kind of a queue")
    try:
        from ensemble.members.remote.agent import Agent
        from ensemble.session.security import Security
    except ModuleNotFoundError as error:
        from ensemble.model.errors import InputError

        raise InputError(f"the agent needs {error.name}: pip install 'ensemble-hpc[service]'") from error
    from ensemble.members.kinds import agent_factory

    factory = agent_factory(kind)
    agent = Agent(
        kind,
        factory,
        run=run,
        member=name,
        base=base,
        observe=getattr(factory, "observe", None),
        workers=workers,
        report=lambda text: output.note(f"ensemble agent: {text}"),
    )

    def up(bound: str) -> None:
        output.show(f"ensemble agent: the member endpoint is up on {bound}", {"address": bound})

    security = Security(tls_ca, tls_cert, tls_key, token_file, tls_name)
    work = agent.connect(connect, security) if connect else agent.listen(listen, security, up)
    sys.exit(asyncio.run(_until_stopped(work)))


async def _until_stopped(work: Coroutine[Any, Any, None]) -> int:
    """Work until the end of it, or until a signal stops it; jobs continue either way. Returns the exit code."""
    task = asyncio.ensure_future(work)
    stopped_by: list[int] = []

    def stop(number: int) -> None:
        stopped_by.append(number)
        task.cancel()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop, number)
    with contextlib.suppress(asyncio.CancelledError):
        await task
    return 130 if signal.SIGINT in stopped_by else 0
