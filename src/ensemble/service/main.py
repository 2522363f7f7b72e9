"""The command `ensemble-server`."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import time
from pathlib import Path
from typing import Any

import click

from ensemble.model.errors import InputError
from ensemble.program import run_program


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def server() -> None:
    """Host many ensembles at once."""


def _state_option(function: Any) -> Any:
    return click.option(
        "--state", default="", help="Directory for the runs and the signing key.  [default: one in the user's home]"
    )(function)


def _state(state: str) -> Path:
    from ensemble.runtime.index import home

    path = Path(state).absolute() if state else home() / "server"
    try:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; a server needs a directory it can write to") from error
    return path


def _key(state: Path) -> bytes:
    """The key that signs tokens, made once."""
    from ensemble.session.tokens import new_key, read_secret

    path = state / "token.key"
    if not path.exists():
        try:
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                file.write(new_key().hex() + "\n")
        except FileExistsError:
            pass
        except OSError as error:
            raise InputError(f"{path}: {error.strerror}") from error
    try:
        return bytes.fromhex(read_secret(path))
    except ValueError as error:
        raise InputError(f"{path} does not hold a key") from error


@server.command("start")
@click.option(
    "--listen", default="", metavar="ADDRESS", help="unix:PATH or HOST:PORT.  [default: a socket of this user]"
)
@_state_option
@click.option("--allow-custom", is_flag=True, help="Allow ensembles to bring functions of their own.")
@click.option(
    "--max-ensembles", type=click.IntRange(0), default=0, help="Ensembles that may run at once (0: any number)."
)
@click.option("--max-jobs", type=click.IntRange(0), default=0, help="Jobs that each ensemble may run (0: any number).")
@click.option("--max-nodes", type=click.IntRange(0), default=0, help="Nodes that each member may have (0: any number).")
@click.option(
    "--submit-rate",
    type=click.FloatRange(0),
    default=0.0,
    help="Jobs submitted per second by all ensembles together (0: no limit).",
)
@click.option(
    "--metrics", default="", metavar="[HOST:]PORT", help="Serve Prometheus metrics at http://HOST:PORT/metrics."
)
@click.option("--tls-cert", default="", metavar="FILE", help="Certificate of this server.")
@click.option("--tls-key", default="", metavar="FILE", help="Private key of that certificate.")
@click.option(
    "--tls-client-ca", default="", metavar="FILE", help="CA that must have signed the certificate of each client."
)
@click.option(
    "--log-format",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="Format of the log on stderr.",
)
def start(
    listen: str,
    state: str,
    allow_custom: bool,
    max_ensembles: int,
    max_jobs: int,
    max_nodes: int,
    submit_rate: float,
    metrics: str,
    tls_cert: str,
    tls_key: str,
    tls_client_ca: str,
    log_format: str,
) -> None:
    """Serve until stopped. Runs that are not over are continued."""
    from ensemble.service.limits import Ceilings
    from ensemble.service.logs import Log
    from ensemble.service.server import default_address
    from ensemble.session.security import Security

    if bool(tls_cert) != bool(tls_key):
        raise click.UsageError("--tls-cert and --tls-key go together")
    where = _state(state)
    ceilings = Ceilings(max_ensembles, max_jobs, max_nodes, allow_custom, submit_rate)
    _key(where)
    # tokens are signed by this key, so it stands for them
    security = Security(tls_client_ca, tls_cert, tls_key, str(where / "token.key"))
    _raise_files()
    asyncio.run(_serve(listen or default_address(), where, ceilings, security, Log(log_format), metrics))


def _raise_files() -> None:
    """A run holds several files open."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


async def _serve(address: str, state: Path, ceilings: Any, security: Any, log: Any, metrics: str) -> None:
    from ensemble.service.metrics import expose
    from ensemble.service.serving import serving
    from ensemble.session.security import needs_token
    from ensemble.session.tokens import SignedBy

    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    verifier = SignedBy(_key(state)) if needs_token(address) else None
    async with serving(address, state, ceilings, security, log, verifier) as served:
        exposed = expose(metrics, served.host, served.acceptor, security) if metrics else None
        print(f"ensemble-server: listening on {served.address}", flush=True)
        if exposed is not None:
            print(f"ensemble-server: metrics on {exposed.address}", flush=True)
        await stop.wait()
    if exposed is not None:
        exposed.close()
    log("stopped")


@server.command("token")
@_state_option
@click.option(
    "--role",
    type=click.Choice(["user", "agent", "admin"]),
    default="user",
    show_default=True,
    help="What the token allows: user asks for runs, agent serves a queue, admin does both.",
)
@click.option("--run", default="*", show_default=True, help="Run that the token is for; * is every run.")
@click.option("--member", default="*", show_default=True, help="Member that the token is for; * is every member.")
@click.option(
    "--expires", default="30d", show_default=True, help="Time after which the token expires, such as 12h; 0: never."
)
@click.option("--subject", default="", help="Name of the person or program, for the journal.")
def token(state: str, role: Any, run: str, member: str, expires: str, subject: str) -> None:
    """Print a new token for this server."""
    from ensemble.session.tokens import Claims, issue
    from ensemble.spec.units import parse_duration

    seconds = 0.0 if expires == "0" else parse_duration(expires)
    until = time.time() + seconds if seconds else 0.0
    click.echo(issue(_key(_state(state)), Claims(role, run, member, until, subject)))


@server.command("certificate")
@click.argument("folder", type=click.Path())
@click.option(
    "--host", "hosts", multiple=True, help="Name or address of the server.  [default: the name of this machine]"
)
@click.option(
    "--days", type=click.IntRange(1, 3650), default=365, show_default=True, help="Days until the certificate expires."
)
def certificate(folder: str, hosts: tuple[str, ...], days: int) -> None:
    """Make a CA and a certificate of it in FOLDER: ca.pem for clients, server.pem and server.key for the server."""
    from ensemble.session.certificates import make

    make(Path(folder), hosts, days)
    click.echo(f"made {folder}/ca.pem (give it to clients), {folder}/server.pem and {folder}/server.key")


def main() -> None:
    """Run the command line. Exit codes: 0 stopped, 1 failed, 2 bad input."""
    run_program(server, "ensemble-server", "service")


if __name__ == "__main__":
    main()
