"""`ensemble study fit`."""

from __future__ import annotations

import sys

from ensemble.cli.options import output_option, verb
from ensemble.cli.output import Output
from ensemble.cli.study.options import study_option


@verb("fit")
@study_option
@output_option
def command(study: str, output: Output) -> None:
    """Fit a model of strong scaling to the measurements of each cell and problem.

    Disturbed and invalid measurements are left out. The exit code is 1 if a pattern could not be fitted.
    """
    from pathlib import Path

    from ensemble.model.errors import InputError
    from ensemble.studies.measuring.measurement import measurements
    from ensemble.studies.patterns import fit_patterns, write_patterns
    from ensemble.studies.showing import pattern_table

    directory = Path(study)
    found = list(measurements(directory))
    if not found:
        raise InputError(f"{directory}: there are no measurements here; `ensemble study measure` makes them")
    patterns = fit_patterns(found)
    write_patterns(directory, patterns)
    output.show(pattern_table(patterns), patterns)
    sys.exit(1 if patterns.refused else 0)
