"""What the verbs of a study share in their command lines."""

from __future__ import annotations

__all__ = ["flux_option", "recipes_option", "study_option", "tasks_option"]

import click

recipes_option = click.option(
    "--recipes",
    multiple=True,
    type=click.Path(),
    metavar="FILE",
    help="Another file of recipes, beside recipes.yaml of this directory; may be given several times.",
)

flux_option = click.option("--flux", is_flag=True, help="Put Flux into the image, where the base has packages of it.")

study_option = click.option(
    "--study", default="study", show_default=True, metavar="DIR", help="Directory of the study."
)


def _tasks(_ctx: click.Context, _param: click.Parameter, text: str) -> tuple[int, ...]:
    words = text.split(",")
    if not all(word.strip().isdigit() and int(word) for word in words):
        raise click.BadParameter(f"{text!r} is not a list of whole numbers such as 1,2,4")
    return tuple(dict.fromkeys(int(word) for word in words))


tasks_option = click.option(
    "--tasks", default="1", show_default=True, callback=_tasks, metavar="LIST", help="Numbers of tasks."
)
