"""Workers that do not outlive their test."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ensemble.functions import FunctionWorkers
from ensemble.model.events import FunctionReturned
from ensemble.spec.model import EnsembleSpec
from tests.functions.world import ARGS, Call, as_it_is


@pytest.fixture
def made() -> Iterator[Callable[..., FunctionWorkers]]:
    living: list[FunctionWorkers] = []

    def make(custom: str, run_dir: str = "", **options: Any) -> FunctionWorkers:
        spec = EnsembleSpec(custom=textwrap.dedent(custom), directory=options.pop("directory", ""))
        living.append(FunctionWorkers(spec, run_dir, **{"validate": as_it_is, **options}))
        return living[-1]

    yield make
    for workers in living:
        workers.close_sync()


@pytest.fixture
def call(made: Callable[..., FunctionWorkers]) -> Call:
    def call(custom: str, function: str = "f", **options: Any) -> FunctionReturned:
        return made(custom, **options).call_sync(7, function, ARGS)

    return call
