"""`ensemble agent`."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Coroutine
from typing import Any

import click


@click.command("agent")
@click.option("--member", "kind", default="local", show_default=True, help="Kind of queue here: local, flux, slurm.")
@click.option("--connect", metavar="ADDRESS", default="", help="Dial the service there: host:port or a Unix socket.")
@click.option("--listen", metavar="ADDRESS", default="", help="Be dialled there: host:port, :port or a Unix socket.")
@click.option("--run", default="", help="Serve this run alone.")
@click.option(
    "--name", default="", help="The member's name in the file; needed with --connect unless the token has it."
)
@click.option("--base", default="", help="Where runs have their directories here; default: where the service says.")
@click.option("--token-file", default="", help="File with the token to send (--connect) or to expect (--listen).")
@click.option("--tls-ca", default="", help="Certificates that verify the other side.")
@click.option("--tls-cert", default="", help="Our certificate.")
@click.option("--tls-key", default="", help="Its key.")
@click.option("--tls-name", default="", help="The name in the other side's certificate, if not the address.")
def command(
    kind: str,
    connect: str,
    listen: str,
    run: str,
    name: str,
    base: str,
    token_file: str,
    tls_ca: str,
    tls_cert: str,
    tls_key: str,
    tls_name: str,
) -> None:
    """Be the queue's end of a session: run this beside the queue.

    With --connect it dials the service and ends with the run; with --listen it serves until it is stopped. Stopping it
    stops no job. An address beyond this machine needs TLS and a token.
    """
    if bool(connect) == bool(listen):
        raise click.UsageError("give either --connect ADDRESS or --listen ADDRESS")
    if bool(tls_cert) != bool(tls_key):
        raise click.UsageError("--tls-cert and --tls-key go together")
    if kind == "remote":
        raise click.UsageError("a remote member needs an agent; it cannot be one")
    try:
        from ensemble.members.remote.agent import Agent
        from ensemble.session.security import Security
    except ModuleNotFoundError as error:
        from ensemble.model.errors import InputError

        raise InputError(f"the agent needs {error.name}: pip install 'ensemble-hpc[service]'") from error
    from ensemble.runtime.opening import member_factory

    agent = Agent(kind, member_factory(kind), run=run, member=name, base=base, say=_say)
    security = Security(tls_ca, tls_cert, tls_key, token_file, tls_name)
    work = agent.connect(connect, security) if connect else agent.listen(listen, security, _up)
    sys.exit(asyncio.run(_until_told(work)))


def _up(bound: str) -> None:
    print(f"ensemble agent: the member endpoint is up on {bound}", flush=True)


def _say(text: str) -> None:
    print(f"ensemble agent: {text}", file=sys.stderr, flush=True)


async def _until_told(work: Coroutine[Any, Any, None]) -> int:
    """Until it ends by itself, or a signal says so; jobs go on either way."""
    import signal

    task = asyncio.ensure_future(work)
    told: list[int] = []

    def stop(number: int) -> None:
        told.append(number)
        task.cancel()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop, number)
    with contextlib.suppress(asyncio.CancelledError):
        await task
    return 130 if signal.SIGINT in told else 0
