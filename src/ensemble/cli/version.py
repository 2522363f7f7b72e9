"""`ensemble version`."""

from __future__ import annotations

import platform

from ensemble.cli.options import output_option, verb
from ensemble.cli.output import Output


@verb("version")
@output_option
def command(output: Output) -> None:
    """Print the versions of Ensemble, of Python and of the journal format."""
    from ensemble import __version__
    from ensemble.journal.format import FORMAT

    python = platform.python_version()
    text = f"ensemble {__version__}, Python {python}, journal format {FORMAT}"
    output.show(text, {"ensemble": __version__, "python": python, "journal": FORMAT})
