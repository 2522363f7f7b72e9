"""Reading figures of merit from what a job wrote, beside its files, where it ran.

On a node: `python -c "from ensemble.members.kit.figures import main; main()" FILE`, where FILE holds a `Described`.
"""

from __future__ import annotations

__all__ = ["FUNCTION_SECONDS", "Described", "main", "read_figures"]

import json
import math
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, Final

import msgspec

from ensemble.members.kit.files import JobFiles
from ensemble.model.jobs import JobSpec, OutputSpec

FUNCTION_SECONDS: Final = 60.0
"""How long a function that reads a figure may take."""

_JSON_LIMIT: Final = 64 << 20


class Described(msgspec.Struct, frozen=True):
    """What a node needs to know of a job to read its figures."""

    run_dir: str
    spec: JobSpec


def main() -> None:
    """Print one line of JSON: the figures of the job that a file describes, and the names of those that are missing."""
    with open(sys.argv[1], "rb") as file:
        job = msgspec.json.decode(file.read(), type=Described)
    files = JobFiles(job.run_dir, job.spec.ref.key, job.spec.ref.attempt)
    figures, missing = read_figures(job.spec.outputs, job.spec.workdir, files.stdout, files.stderr)
    sys.stdout.write(msgspec.json.encode([figures, missing]).decode())


def read_figures(
    outputs: Sequence[OutputSpec], workdir: str, stdout: str, stderr: str
) -> tuple[dict[str, float], list[str]]:
    """Return the figures that were found, and the names of those that were not (or are not finite numbers)."""
    figures: dict[str, float] = {}
    missing: list[str] = []
    for output in outputs:
        path = {"stdout": stdout, "stderr": stderr}.get(output.source) or os.path.join(workdir, output.source)
        try:
            value = _value(output, path)
        except (OSError, ValueError, KeyError, IndexError, TypeError, subprocess.SubprocessError):
            value = None
        if value is None or not math.isfinite(value):
            missing.append(output.name)
        else:
            figures[output.name] = value
    return figures, missing


def _value(output: OutputSpec, path: str) -> float | None:
    if output.function:
        return _call(output.function, path)
    if output.pointer:
        if os.path.getsize(path) > _JSON_LIMIT:
            raise ValueError("too large for a JSON file")
        with open(path, encoding="utf-8") as file:
            return float(_point(json.load(file), output.pointer))
    return _take(_matches(output.pattern, path), output.take)


@lru_cache(maxsize=256)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)


def _matches(pattern: str, path: str) -> Iterator[float]:
    """The numbers that match, line by line, so that a log of gigabytes costs no memory."""
    compiled = _compiled(pattern)
    with open(path, encoding="utf-8", errors="replace") as file:
        for line in file:
            for found in compiled.finditer(line.rstrip("\n")):
                try:
                    # a pattern without a group is only counted
                    yield float(found.group(1)) if compiled.groups else 1.0
                except (ValueError, TypeError):
                    continue


def _take(values: Iterator[float], take: str) -> float | None:
    if take == "first":
        return next(values, None)
    count = 0
    total = 0.0
    last = least = most = None
    for value in values:
        count += 1
        total += value
        last = value
        least = value if least is None or value < least else least
        most = value if most is None or value > most else most
    if take == "count":
        return float(count)
    if not count:
        return None
    return {"last": last, "min": least, "max": most, "sum": total, "mean": total / count}[take]


def _point(document: Any, pointer: str) -> Any:
    """Follow a JSON pointer (RFC 6901)."""
    for word in pointer.split("/")[1:]:
        key = word.replace("~1", "/").replace("~0", "~")
        document = document[int(key)] if isinstance(document, list) else document[key]
    return document


def _call(function: str, path: str) -> float:
    """Call `module:name` with the path, in a process of its own: it is somebody else's code."""
    module, _, name = function.partition(":")
    code = f"import sys; sys.path.insert(0, ''); from {module} import {name} as f; print(float(f(sys.argv[1])))"
    answer = subprocess.run(  # noqa: S603 - our own interpreter
        [sys.executable, "-c", code, path], capture_output=True, text=True, timeout=FUNCTION_SECONDS, check=True
    )
    return float(answer.stdout.split()[-1])
