"""The kubectl plugin `kubectl ensemble`: verbs of the command line `ensemble`, carried out in the service pod.

kubectl finds a plugin by its name, `kubectl-ensemble`, on PATH. Whoever may exec into the pod may ask; there is no
other way to the service, and no token to keep.
"""

from __future__ import annotations

__all__ = ["VERBS", "command", "main"]

import os
import shutil
import sys
from typing import Final

import click

from ensemble.operator.naming import service_name

VERBS: Final = {
    "status": "Show how many jobs there are in each state.",
    "explain": "Show why rules fired and what they wait for.",
    "results": "Print one row for each job or point.",
    "logs": "Print the output of a job: logs NAME KEY.",
    "events": "Print the events of a run and the decisions that followed.",
    "watch": "Print the state of a run whenever it changes.",
    "cancel": "Cancel a run, or some of its jobs.",
    "verify": "Repeat the decisions of a run and compare them with its journal.",
}
"""The verbs that a plugin passes on, each with the name of an Ensemble first."""

_USAGE: Final = "kubectl ensemble [-n NAMESPACE] [--context NAME] [--kubeconfig FILE] VERB NAME [OPTIONS]"


def command(words: list[str], options: list[str], interactive: bool) -> list[str]:
    """The words of the kubectl command for `VERB NAME ...`; `options` are those of kubectl. Raises `UsageError`."""
    if not words or words[0] not in VERBS:
        found = f"there is no verb {words[0]!r}; " if words else ""
        raise click.UsageError(f"{found}there are {', '.join(VERBS)}")
    if len(words) < 2:
        raise click.UsageError(f"of which Ensemble? {_USAGE}")
    verb, name, *rest = words
    asked = ["ensemble", verb, "last", *rest]
    terminal = ["--stdin", "--tty"] if interactive and verb == "watch" else []
    return ["kubectl", *options, "exec", *terminal, f"deployment/{service_name(name)}", "-c", "service", "--", *asked]


_SETTINGS: Final = {
    "ignore_unknown_options": True,
    "allow_interspersed_args": False,
    "help_option_names": ["-h", "--help"],
}


@click.command(
    context_settings=_SETTINGS,
    epilog="Verbs: " + "; ".join(f"{verb}: {text}" for verb, text in VERBS.items()),
)
@click.option("--namespace", "-n", default="", help="Namespace of the Ensemble.")
@click.option("--context", default="", help="Context of the kubeconfig.")
@click.option("--kubeconfig", default="", help="How to reach the cluster.")
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="VERB NAME [OPTIONS]")
def plugin(namespace: str, context: str, kubeconfig: str, words: tuple[str, ...]) -> None:
    """Ask about an Ensemble, or cancel it."""
    given = {"namespace": namespace, "context": context, "kubeconfig": kubeconfig}
    options = [f"--{key}={value}" for key, value in given.items() if value]
    found = command(list(words), options, sys.stdin.isatty() and sys.stdout.isatty())
    if shutil.which(found[0]) is None:
        raise click.ClickException("kubectl is not on PATH")
    sys.stdout.flush()
    os.execvp(found[0], found)  # noqa: S606 - words, and no shell


def main() -> None:
    """Run the plugin."""
    plugin.main(prog_name="kubectl ensemble")


if __name__ == "__main__":
    main()
