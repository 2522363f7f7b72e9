"""The C programs of a measurement, compiled when they are used into a cache that is keyed by their source."""

from __future__ import annotations

__all__ = ["TOOLS", "Call", "Tool", "calls", "compile_tool", "compiler_words", "in_image", "sources", "wrappers"]

import hashlib
import os
import shutil
import subprocess
import tempfile
from importlib.resources import files
from pathlib import Path
from typing import Final, Literal, NamedTuple

from ensemble.model.errors import InputError

Tool = Literal["interposer", "dummy"]
TOOLS: Final[dict[Tool, str]] = {"interposer": "interposer.so", "dummy": "dummy"}
"""By tool: the name of the compiled file in an image."""

_FLAGS: Final[dict[Tool, tuple[str, ...]]] = {
    "interposer": ("-shared", "-fPIC", "-ldl"),
    "dummy": ("-ldl", "-lm"),
}
_COMPILERS: Final = ("cc", "gcc", "clang")

# What the letters of calls.txt are in C, in the variants of C for large numbers, and in Fortran, where an argument is
# the address of the value.
_LANGUAGES: Final = {
    "c": """
#define N(i) ((long)(int)a##i)
#define T(i) bytes_of_type(a##i)
#define P(i) processes_of(a##i)
#define V(i, c) sum_of(a##i, processes_of(a##c), 0)
#define X(i, t, c) bytes_of_each(a##i, a##t, processes_of(a##c), 0)
#define D(i) ((int)a##i != proc_null())
#define I(i) in_place(a##i)
""",
    "large": """
#undef N
#undef V
#undef X
#define N(i) ((long)a##i)
#define V(i, c) sum_of(a##i, processes_of(a##c), 1)
#define X(i, t, c) bytes_of_each(a##i, a##t, processes_of(a##c), 1)
""",
    "fortran": """
#undef N
#undef T
#undef P
#undef V
#undef X
#undef D
#undef I
#define N(i) ((long)*(int *)a##i)
#define T(i) bytes_of_type_of_fortran(a##i)
#define P(i) processes_of_fortran(a##i)
#define V(i, c) sum_of(a##i, processes_of_fortran(a##c), 0)
#define X(i, t, c) bytes_of_each_of_fortran(a##i, a##t, processes_of_fortran(a##c))
#define D(i) (*(int *)a##i != proc_null())
#define I(i) in_place_of_fortran(a##i)
""",
}


class Call(NamedTuple):
    """A line of calls.txt, which explains it."""

    name: str
    arguments: int
    kind: str
    size: str


def source(name: str) -> str:
    """The text of a file of `native/`."""
    return (files(__package__) / "native" / name).read_text("utf-8")


def calls() -> list[Call]:
    """The MPI functions that the interposer sees."""
    found = []
    for line in source("calls.txt").splitlines():
        if line.strip() and not line.startswith("#"):
            name, arguments, kind, size = line.split(maxsplit=3)
            found.append(Call(name, int(arguments), kind, size))
    return found


def wrappers() -> str:
    """The text of calls.h: the table of the calls, and a function for each in C and in Fortran.

    The names of Fortran are those of gfortran: in lower case, with an underscore; `_f08_` is Open MPI's `mpi_f08`
    (MPICH's calls the functions of C).
    """
    small = calls()
    large = [call._replace(name=f"{call.name}_c") for call in small if call.size != "-"]
    table: list[str] = []
    in_c: list[str] = []
    in_large: list[str] = []
    in_fortran: list[str] = []
    for number, call in enumerate((*small, *large)):
        kind = "IO_TIME" if call.kind.startswith("io") else "MPI_TIME"
        table.append(f'    {{"MPI_{call.name}", {kind}, 0, 0, 0, 0, 0, 0}},')
        (in_c if number < len(small) else in_large).append(_wrapper(call, number, f"MPI_{call.name}", call.arguments))
        if number < len(small):
            # one more for the error code, and one for the length of a text
            arguments = call.arguments + 1 + (call.kind == "io-text")
            in_fortran += [_wrapper(call, number, f"mpi_{call.name.lower()}{end}", arguments) for end in ("_", "_f08_")]
    head = ["static struct call calls[] = {", *table, "};", f"static const int number_of_calls = {len(table)};"]
    parts = (
        *head,
        _LANGUAGES["c"],
        *in_c,
        _LANGUAGES["large"],
        *in_large,
        _LANGUAGES["fortran"],
        *in_fortran,
    )
    return "\n".join(parts) + "\n"


def _wrapper(call: Call, number: int, name: str, arguments: int) -> str:
    names = [f"a{i}" for i in range(arguments)]
    declared = ", ".join(f"W {one}" for one in names)
    macro = "POLL" if call.kind == "poll" else "CALL"
    size = "0" if call.size == "-" else call.size
    real = ("P" if name.startswith("MPI") else "p") + name
    return f'int {name}({declared})\n{macro}({number}, "{real}", ({declared}), ({", ".join(names)}), {size})'


def in_image(tool: Tool) -> str:
    """Where an image of a cell has a tool."""
    return f"/usr/local/lib/ensemble/{TOOLS[tool]}"


def sources(tool: Tool) -> dict[str, str]:
    """The texts that a tool is compiled from, by file name."""
    texts = {name: source(name) for name in (f"{tool}.c", "handles.h")}
    if tool == "interposer":
        texts["calls.h"] = wrappers()
    return texts


def compiler_words(tool: Tool, folder: str, made: str) -> list[str]:
    """What follows the name of the compiler in the command that makes a tool of the sources in a folder."""
    return ["-O2", "-Wall", "-o", made, f"{folder}/{tool}.c", *_FLAGS[tool]]


def compile_tool(tool: Tool) -> Path:
    """Return the path of the compiled tool: a library for `interposer`, a program for `dummy`.

    It is kept in `$XDG_CACHE_HOME/ensemble` (by default `~/.cache/ensemble`). Raises `InputError` where there is no C
    compiler, or it fails.
    """
    texts = sources(tool)
    key = hashlib.sha256("\0".join((*texts.values(), *_FLAGS[tool], os.uname().machine)).encode()).hexdigest()[:16]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "ensemble"
    made = cache / (f"{tool}-{key}.so" if tool == "interposer" else f"{tool}-{key}")
    if made.exists():
        return made
    compiler = next(filter(None, map(shutil.which, _COMPILERS)), None)
    if compiler is None:
        raise InputError(f"the {tool} needs a C compiler, and there is no {', '.join(_COMPILERS)} on PATH")
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as folder:
            for name, text in texts.items():
                Path(folder, name).write_text(text, "utf-8")
            part = Path(folder, made.name)
            words = [compiler, *compiler_words(tool, folder, str(part))]
            done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)  # noqa: S603
            if done.returncode:
                raise InputError(f"{compiler} could not compile the {tool}: {done.stderr.strip()}")
            part.replace(made)
    except OSError as error:
        raise InputError(f"{error.filename or cache}: {error.strerror}") from error
    return made
