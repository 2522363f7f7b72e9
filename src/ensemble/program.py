"""What our programs share: errors become messages, and all ends become exit codes."""

from __future__ import annotations

__all__ = ["run_program"]

import os
import sys
from typing import NoReturn

import click


def run_program(command: click.Command, name: str, extra: str = "") -> NoReturn:
    """Run the command line of the program `name` and exit: 0 success, 1 failed, 2 bad input, 130 interrupted.

    A command may exit with another code. `extra` names the optional dependencies without which it does not work.
    """
    from ensemble.model.errors import EnsembleError, InputError

    def tell(text: str) -> None:
        print(f"{name}: {text}", file=sys.stderr)

    code = 0
    try:
        command.main(standalone_mode=False)
    except click.exceptions.Exit as error:
        code = error.exit_code
    except (KeyboardInterrupt, click.Abort):
        code = 130
    except click.ClickException as error:
        error.show()
        code = 2
    except EnsembleError as error:
        tell(str(error))
        code = 2 if isinstance(error, InputError) else 1
    except BrokenPipeError:
        _discard_output()  # the reader of our output has gone, which is no error
    except Exception as error:
        if extra and isinstance(error, ModuleNotFoundError):
            tell(f"it needs {error.name}: pip install 'ensemble-hpc[{extra}]'")
            code = 2
        else:
            tell(f"internal error: {type(error).__name__}: {error}. {_save_traceback()}")
            code = 1
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        _discard_output()
    sys.exit(code)


def _discard_output() -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _save_traceback() -> str:
    import tempfile
    import traceback

    try:
        with tempfile.NamedTemporaryFile("w", prefix="ensemble-", suffix=".txt", delete=False) as file:
            traceback.print_exc(file=file)
        return f"Please report this with the traceback in {file.name}."
    except OSError:
        return "Please report this."
