"""`ensemble study show`."""

from __future__ import annotations

from ensemble.cli.options import output_option, verb
from ensemble.cli.output import Output
from ensemble.cli.study.options import study_option


@verb("show")
@study_option
@output_option
def command(study: str, output: Output) -> None:
    """Show the patterns of a study: each model with its residual and range, times and MPI shares by tasks."""
    from pathlib import Path

    from ensemble.studies.patterns import read_patterns
    from ensemble.studies.showing import pattern_details, pattern_table

    patterns = read_patterns(Path(study))
    output.show("\n\n".join([pattern_table(patterns), *map(pattern_details, patterns.patterns)]), patterns)
