"""The command `ensemble-operator`."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import Any

import click

from ensemble.program import run_program


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def operator() -> None:
    """Run ensembles in Kubernetes."""


_LOG_FORMAT = click.option(
    "--log-format", type=click.Choice(["text", "json"]), default="text", show_default=True, help="Format of the log."
)
_KUBECONFIG = click.option(
    "--kubeconfig",
    default="",
    metavar="FILE",
    help="How to reach the cluster.  [default: KUBECONFIG, or the pod's account]",
)


@operator.command("run")
@_KUBECONFIG
@click.option("--namespace", default="", help="Watch this namespace only.  [default: all]")
@click.option(
    "--own-namespace", default="ensemble-operator-system", show_default=True,
    help="Where the Lease and the webhook's certificate are kept.",
)  # fmt: skip
@click.option("--image", required=True, envvar="ENSEMBLE_IMAGE", help="Image of service pods. [env: ENSEMBLE_IMAGE]")
@click.option("--pull-policy", default="", help="When that image is pulled.")
@click.option("--http", default=":8080", show_default=True, metavar="[HOST]:PORT", help="Health and metrics.")
@click.option("--webhook", default="", metavar="[HOST]:PORT", help="Serve the validating webhook.  [default: none]")
@click.option(
    "--webhook-host", multiple=True, metavar="NAME", help="Name in the webhook's certificate.  [default: its service]"
)
@click.option(
    "--webhook-configuration", default="ensemble-operator", show_default=True, metavar="NAME",
    help="The ValidatingWebhookConfiguration that is told of the webhook's certificate.",
)  # fmt: skip
@click.option("--no-lease", is_flag=True, help="Lead without asking others: for one operator alone.")
@_LOG_FORMAT
def run(**given: Any) -> None:
    """Make what each Ensemble of the cluster asks for."""
    from ensemble.operator.operating import OperatorOptions, operate

    _until_stopped(lambda stop: operate(OperatorOptions(**given), stop))


@operator.command("serve")
@_KUBECONFIG
@click.option("--ensemble", required=True, metavar="NAMESPACE/NAME", help="The Ensemble that is run here.")
@click.option("--uid", required=True, help="The uid of that object.")
@click.option("--run", required=True, help="The name of the run.")
@click.option("--file", required=True, type=click.Path(path_type=Path), help="The ensemble file.")
@click.option("--state", required=True, type=click.Path(path_type=Path), help="Directory for the journal.")
@click.option("--socket", required=True, help="Unix socket to listen on.")
@click.option("--http", default="", metavar="[HOST]:PORT", help="Health and metrics.  [default: none]")
@_LOG_FORMAT
def serve(ensemble: str, uid: str, **given: Any) -> None:
    """Run one Ensemble: what a service pod does."""
    from ensemble.operator.service_pod import options_of
    from ensemble.operator.service_pod import serve as serve_one

    _until_stopped(lambda stop: serve_one(options_of(ensemble, uid, **given), stop))


@operator.command("crd")
def crd() -> None:
    """Print the CustomResourceDefinition."""
    import yaml

    from ensemble.operator.crd import crd as definition

    click.echo(yaml.safe_dump(definition(), sort_keys=False, width=120), nl=False)


@operator.command("reference")
def reference() -> None:
    """Print the reference of the custom resource, which stands in docs/operator.md."""
    from ensemble.operator.resource import reference as tables

    click.echo(tables(), nl=False)


def _until_stopped(work: Any) -> None:
    async def main() -> None:
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        await work(stop)

    asyncio.run(main())


def main() -> None:
    """Run the command line. Exit codes: 0 stopped, 1 failed, 2 bad input."""
    run_program(operator, "ensemble-operator", "operator")


if __name__ == "__main__":
    main()
