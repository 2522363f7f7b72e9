"""What a verb prints: one object that knows whether people, programs or nobody reads."""

from __future__ import annotations

__all__ = ["Output", "Showing"]

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

import click

if TYPE_CHECKING:
    from ensemble.engine import Engine
    from ensemble.model.decisions import Record
    from ensemble.report.live import Live
    from ensemble.runtime import RunResult

Form = Literal["human", "json", "quiet"]


class Output:
    """Prints text for people (`human`), a JSON value a line for programs (`json`), or nothing (`quiet`).

    Errors are printed in every form.
    """

    def __init__(self, form: Form = "human") -> None:
        self.form: Form = form

    @property
    def human(self) -> bool:
        """Whether people read."""
        return self.form == "human"

    def show(self, text: str | Callable[[], str], data: Any = None) -> None:
        """Print text for people, or data for programs. A text that takes time to make may be a function."""
        if self.form == "human":
            click.echo(text if isinstance(text, str) else text())
        elif self.form == "json":
            import msgspec

            click.echo(json.dumps(msgspec.to_builtins(data), allow_nan=False))

    def note(self, text: str) -> None:
        """Print a remark for people on standard error."""
        if self.form == "human":
            click.echo(text, err=True)

    def warn(self, warning: object) -> None:
        """Print what looks like a mistake."""
        self.note(f"warning: {warning}")


class Showing:
    """Shows a run that goes on, from its first record or from where an engine stands; a context manager."""

    def __init__(self, output: Output, *, debug: bool = False, engine: Engine | None = None) -> None:
        self._output, self._debug = output, debug
        self._live: Live | None = None
        if engine is not None:
            self._begin(engine.spec, engine)

    def __enter__(self) -> Showing:
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.__exit__()

    def _begin(self, spec: Any, engine: Engine | None = None) -> Live:
        from msgspec import structs

        from ensemble.report.live import Live

        if self._debug:
            spec = structs.replace(spec, logging=structs.replace(spec.logging, debug=True))
        self._live = Live(spec, self._output.form, engine)
        return self._live.__enter__()

    def observe(self, record: Record) -> None:
        """Show what a record says."""
        if self._live is None:
            import msgspec

            from ensemble.spec.model import EnsembleSpec

            self._begin(msgspec.convert(getattr(record.event, "spec", None), EnsembleSpec))
        assert self._live is not None
        self._live.observe(record)

    def close(self, result: RunResult) -> int:
        """Show how it ended; return the exit code."""
        if self._live is not None:
            self._live.close(result)
        elif result.outcome == "detached":
            self._output.show(f"{result.run}: {result.reason}", {"name": result.run, "path": result.run_dir})
        else:
            click.echo(f"ensemble: {result.run}: {result.reason}", err=True)
        return result.exit_code
