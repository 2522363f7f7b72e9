"""`ensemble save RUN --push REF`."""

from __future__ import annotations

import click

from ensemble.cli.options import output_option, registry_option, run_argument, verb
from ensemble.cli.output import Output


@verb("save")
@run_argument()
@click.option(
    "--push",
    "where",
    required=True,
    metavar="REF",
    help="HOST/REPOSITORY, or with a tag of your own: HOST/REPOSITORY:TAG.",
)
@click.option("--attach", "image", default="", metavar="IMAGE", help="Attach the run to this image in a registry.")
@click.option("--environment", default="", metavar="WORD", help="Where it ran, for its tag; by default its members.")
@click.option("--clean", is_flag=True, help="Delete RUN here once it has been read back and found to be the same.")
@click.option("--force", is_flag=True, help="Take over a tag of REF that is another run's.")
@registry_option
@output_option
def command(
    run: str, where: str, image: str, environment: str, clean: bool, force: bool, plain_http: bool, output: Output
) -> None:
    """Push RUN (journal, results, files of its jobs, environment) to a registry, and verify it there.

    It gets a tag made from its name, groups, sizes, members and content, and the tag in REF if there is one. Everything
    is read back and compared before RUN is called saved, and only then deleted with `--clean`. The values of variables
    that a group marks as `secret` are replaced by asterisks.
    """
    from ensemble.artifacts import packing, saving
    from ensemble.model.wording import counted
    from ensemble.runs.local import LocalRuns

    found = LocalRuns().find(run)
    with packing.pack(found, environment) as package:
        for one in package.left_out:
            output.warn(f"{one.path} is not saved: {one.reason}")
        pushed = saving.push(package, where, image, plain_http=plain_http, force=force)
        saving.verify(package, pushed, plain_http=plain_http)
    if clean:
        package.refuse_to_lose(found.name)
        found.remove()
    lines = [f"{found.name} is saved and verified: {pushed.reference}"]
    lines += [f"  also as {place.repository_name}:{place.tag}" for place in pushed.places[1:]]
    lines.append(f"  {counted(pushed.size, 'byte')}, of which {pushed.sent:,} were sent")
    lines += [f"  {found.path} is deleted"] if clean else []
    data = {
        "run": found.name,
        "reference": str(pushed.reference),
        "digest": pushed.reference.digest,
        "places": [f"{place.repository_name}:{place.tag}" for place in pushed.places],
        "size": pushed.size,
        "sent": pushed.sent,
        "left_out": package.left_out,
        "deleted": clean,
    }
    output.show("\n".join(lines), data)
