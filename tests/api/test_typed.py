"""Functions that were typed in, in a notebook or at a prompt, are sent as source, or refused with a clear message."""

import linecache
import math
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import ensemble
from ensemble import Ensemble, InputError


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENSEMBLE_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)


def cell(text: str, space: dict) -> None:
    """Execute a cell as a notebook does: there is no file, and Python knows the source."""
    text = textwrap.dedent(text)
    name = f"<cell {len(linecache.cache)}>"
    linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
    exec(compile(text, name, "exec"), space)


def session() -> dict:
    return {"__name__": "__main__", "Ensemble": Ensemble, "submit": ensemble.submit, "m": math}


def test_a_function_of_a_cell_is_called_with_what_it_uses_of_the_session() -> None:
    space = session()
    cell(
        """
        study = Ensemble("cells", seed=1)
        work = study.group("work", "echo f {x}", parameters={"x": [1]}, outputs={"f": r"f (\\d+)"})
        MOST = 4
        def enough(n, most=MOST):
            return n >= m.floor(most + 0.5)
        @study.rule("job-success", work, repetitions="unlimited")
        def more(job, metrics):
            if enough(metrics.get("count.work.submitted")):
                return None
            return work.submit(1, parameters={"x": [job.figures.f + 1]})
        """,
        space,
    )
    run = space["study"].run(output="quiet")
    assert (run.outcome, run.reason) == ("success", "")
    assert sorted(row["x"] for row in run.results()) == [1, 2, 3, 4]
    assert run.explain("more")[0].fired == 4


def test_a_function_that_uses_what_cannot_be_sent_is_refused_by_name() -> None:
    space = session()
    with pytest.raises(InputError, match="more was typed in and uses 'table', of type dict"):
        cell(
            """
            study = Ensemble("cells")
            table = {}
            @study.rule("idle")
            def more():
                return table.get("x")
            """,
            space,
        )


TYPED = """
from ensemble import Ensemble
study = Ensemble("typed")
work = study.group("work", "true")
with study.start() as run:
    print([job.outcome for job in run.completed()], flush=True)

print(run.outcome)
"""


@pytest.mark.parametrize("how", [["-i"], ["-"]])
def test_what_is_typed_in_steers_a_run(tmp_path: Path, how: list[str]) -> None:
    home = {**os.environ, "HOME": str(tmp_path)}  # an interactive Python writes its history there
    done = subprocess.run([sys.executable, *how], input=TYPED, env=home, capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == ["['success']", "success"], done.stderr


def test_a_function_typed_in_at_a_prompt_that_forgets_it_is_refused_in_words(tmp_path: Path) -> None:
    text = 'from ensemble import Ensemble\ndef f(): pass\n\nEnsemble("typed").rule("idle")(f)\n'
    done = subprocess.run([sys.executable, "-"], input=text, capture_output=True, text=True, timeout=60)
    assert "f was typed in and is in no file, and its source is not known here" in done.stderr
    assert "Put it into a module and import it" in done.stderr


def test_a_run_is_steered_where_an_event_loop_runs_already() -> None:
    import asyncio

    async def notebook() -> list[str]:
        study = Ensemble("loop")
        work = study.group("work", "true", parameters={"x": []})
        with study.start() as run:
            run.submit(work, points=[{"x": 1}])
            return [job.wait(30).outcome for job in run.completed()]

    assert asyncio.run(notebook()) == ["success"]
