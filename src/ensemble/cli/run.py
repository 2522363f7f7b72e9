"""`ensemble run FILE`."""

from __future__ import annotations

import asyncio
import sys

import click

from ensemble.cli.common import output_option, show_warnings
from ensemble.cli.remote import on_server, server_options


@click.command("run")
@click.argument("file", type=click.Path())
@click.option("--member", default="", help="Kind of member to run on, instead of the file's.")
@click.option("--nodes", type=click.IntRange(1, 100_000), default=None, help="Nodes of the member (virtual ones here).")
@click.option("--run-dir", default="", help="Directory of this run, instead of <base>/<name>-<n>.")
@click.option("--base", default="runs", show_default=True, help="Where runs are made.")
@click.option("--seed", type=click.IntRange(0), default=None, help="Instead of the file's seed.")
@click.option("--detach", is_flag=True, help="Leave once all is submitted (with --server: at once); jobs go on.")
@click.option("--debug", is_flag=True, help="Show every event.")
@server_options
@output_option
def command(
    file: str,
    member: str,
    nodes: int | None,
    run_dir: str,
    base: str,
    seed: int | None,
    detach: bool,
    debug: bool,
    server: str,
    output: str,
) -> None:
    """Run the ensemble of FILE to its end."""
    if server:
        sys.exit(_on_server(file, member, nodes, run_dir, seed, detach, debug, server, output))
    from msgspec import structs

    from ensemble.report.live import Live
    from ensemble.runtime import RunOptions
    from ensemble.runtime import run as run_ensemble
    from ensemble.runtime.examining import examine
    from ensemble.runtime.opening import algorithms, kind_here, member_kinds, on_member
    from ensemble.spec.loader import load_with_places

    spec, places = load_with_places(file, algorithms(), () if member else member_kinds())
    if seed is not None:
        spec = structs.replace(spec, seed=seed)
    if not member and (member := kind_here(spec)) and output == "human":
        click.echo("in a Flux instance: running there (`--member local` for this machine)", err=True)
    spec = on_member(spec, member, nodes or 0)
    show_warnings(examine(spec, places), output)
    if debug:
        spec = structs.replace(spec, logging=structs.replace(spec.logging, debug=True))
    options = RunOptions(base=base, run_dir=run_dir, source=file, detach=detach)
    live = Live(spec, output)
    with live:
        result = asyncio.run(run_ensemble(spec, options, [live.observe]))
    live.close(result)
    sys.exit(result.exit_code)


def _on_server(
    file: str,
    member: str,
    nodes: int | None,
    run_dir: str,
    seed: int | None,
    detach: bool,
    debug: bool,
    server: str,
    output: str,
) -> int:
    from ensemble.cli.remote import run

    if run_dir:
        raise click.UsageError("--run-dir is for this machine; the server has a directory for its runs")
    more = {"member": member, "nodes": nodes or 0, "seed": seed}
    return on_server(server, lambda client: run(client, file, output, debug, detach, **more))
