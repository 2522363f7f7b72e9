"""Runs from Python: to their end, in a thread, with functions of the script, resumed after kill -9."""

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

import ensemble
from ensemble import Ensemble, InputError, Refused, UnknownRun
from ensemble.model.events import JobEvent


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENSEMBLE_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)


def again(metrics, event, binding, now):
    """A rule of this file: called in a worker."""
    return ensemble.submit("a", 1) if metrics.get("count.a.success") < 3 else None


def _script(tmp_path: Path, body: str) -> Path:
    path = tmp_path / "study.py"
    path.write_text(textwrap.dedent(body))
    return path


def _python(script: Path, *args: str, **keys) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, str(script), *args], capture_output=True, text=True, timeout=60, **keys)


def test_a_run_gives_rows_events_and_reasons(capsys) -> None:
    study = Ensemble("rows", seed=1)
    study.group("a", "echo value {x}", parameters={"x": [1, 2]}, outputs={"value": r"value (\d+)"})
    run = study.run(output="quiet")
    assert (run.outcome, run.exit_code) == ("success", 0)
    assert [(row["x"], row["value"], row["outcome"]) for row in sorted(run.results(), key=lambda row: row["x"])] == [
        (1, 1.0, "success"),
        (2, 2.0, "success"),
    ]
    assert [row["value.mean"] for row in run.results(by="point")] == [1.0, 2.0]
    ends = [event for event in run if isinstance(event, JobEvent) and event.outcome]
    assert [event.outcome for event in ends] == ["success", "success"]
    assert run.verify().difference == ""
    assert run.status().groups[0].success == 2
    assert capsys.readouterr().out == ""
    with pytest.raises(InputError, match="by 'group'"):
        run.results(by="group")


def test_progress_is_for_people_unless_told_otherwise(capsys) -> None:
    study = Ensemble("shown")
    study.group("a", "true")
    study.run()
    out = capsys.readouterr().out
    assert "run shown-1 in" in out
    assert "shown-1: success" in out


def test_a_function_of_this_file_is_a_rule() -> None:
    study = Ensemble("fun", seed=1)
    study.group("a", "true")
    study.rule("job-success", "a", repetitions="unlimited")(again)
    run = study.run(output="quiet")
    assert len(run.results()) == 3
    assert run.explain("again")[0].fired == 3


def test_events_come_while_the_run_goes_on_and_it_can_be_asked_for_more() -> None:
    study = Ensemble("live", seed=1)
    a = study.group("a", "sleep 0.2")
    run = study.start()
    assert run.outcome == ""
    assert run.exit_code is None
    asked = 0
    for event in run:
        if isinstance(event, JobEvent) and event.state == "run" and not asked:
            asked += 1
            run.act(a.submit(2))
    assert asked == 1
    assert run.outcome == "success"
    assert len(run.results()) == 3
    assert next(run.records(after=2)).seq == 3


def test_what_the_ensemble_does_not_allow_is_refused_at_once() -> None:
    study = Ensemble("asks", seed=1)
    study.group("a", "sleep 5")
    run = study.start()
    with pytest.raises(InputError, match="no group 'b'"):
        run.act(ensemble.submit("b"))
    with pytest.raises(InputError, match=r"write points=\[\{'x': 5\}\] for one"):
        run.submit("a", points={"x": 5})
    run.cancel()
    assert run.wait(30).outcome == "cancelled"
    assert run.exit_code == 130
    with pytest.raises(InputError, match=r"run asks-1 is over \(cancelled\)"):
        run.drain()


def test_waiting_has_an_end() -> None:
    study = Ensemble("slow")
    study.group("a", "sleep 30")
    run = study.start()
    with pytest.raises(TimeoutError, match="still goes on"):
        run.wait(0.1)
    run.cancel()
    run.wait(30)


def test_a_run_that_cannot_begin_says_so_where_it_is_started(tmp_path: Path) -> None:
    study = Ensemble("nowhere", members={"m": {"kind": "local"}})
    study.group("a", "true")
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="needs a directory"):
        study.start(base=tmp_path / "file")
    with pytest.raises(InputError, match="no member of kind"):
        study.start(member="nope")


def test_it_runs_where_a_loop_runs_already() -> None:
    study = Ensemble("notebook")
    study.group("a", "true")

    async def cell() -> str:
        return study.run(output="quiet").outcome

    assert asyncio.run(cell()) == "success"


def test_a_run_that_was_left_is_taken_over_to_be_cancelled() -> None:
    study = Ensemble("left")
    study.group("a", "sleep 600")
    assert study.run(detach=True, output="quiet").outcome == "detached"
    run = ensemble.open_run("left-1")
    run.cancel()
    assert run.outcome == "cancelled"
    with pytest.raises(Refused, match=r"run left-1 is over \(cancelled\)"):
        run.cancel()


def test_detached_jobs_go_on_and_resume_finds_them(tmp_path: Path) -> None:
    study = Ensemble("away")
    gate = tmp_path / "gate"
    study.group("a", f"until test -e {gate}; do sleep 0.05; done", shell=True)
    run = study.run(detach=True, output="quiet")
    assert run.outcome == "detached"
    gate.touch()
    again = ensemble.resume(run.path, output="quiet")
    assert again.outcome == "success"
    assert [row["attempt"] for row in again.results()] == [1]
    assert ensemble.open_run("last").outcome == "success"
    assert [known.name for known in ensemble.list_runs()] == ["away-1"]
    with pytest.raises(UnknownRun):
        ensemble.open_run("nothing")


SCRIPT = """
    import sys
    from ensemble import Ensemble

    study = Ensemble("scripted", seed=1)
    a = study.group("a", "sh -c 'echo $ENSEMBLE_KEY >> ../../../../ledger; sleep 0.3'")

    @study.rule("job-success", a, repetitions="unlimited")
    def again(metrics):
        return a.submit(1) if metrics.get("count.a.success") < 6 else None

    run = study.run(output="quiet")
    print(run.outcome, len(run.results()))
"""


def test_a_script_needs_no_main_guard(tmp_path: Path) -> None:
    done = _python(_script(tmp_path, SCRIPT), cwd=tmp_path)
    assert done.stdout == "success 6\n", done.stderr


def test_a_script_killed_is_resumed_with_its_functions(tmp_path: Path) -> None:
    script = _script(tmp_path, SCRIPT)
    process = subprocess.Popen([sys.executable, str(script)], cwd=tmp_path)
    ledger = tmp_path / "ledger"
    until = time.monotonic() + 30
    while not (ledger.exists() and len(ledger.read_text().split()) >= 3):
        assert time.monotonic() < until
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    run = ensemble.resume("last", output="quiet")
    assert run.outcome == "success"
    assert ledger.read_text().split() == [f"a-{number}" for number in range(6)]
    assert run.verify().difference == ""


def test_a_script_that_changed_is_not_used_unasked(tmp_path: Path) -> None:
    script = _script(tmp_path, SCRIPT)
    process = subprocess.Popen([sys.executable, str(script)], cwd=tmp_path)
    until = time.monotonic() + 30
    while not (tmp_path / "ledger").exists():
        assert time.monotonic() < until
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    script.write_text(script.read_text().replace("< 6", "< 3"))
    with pytest.raises(InputError, match="has changed since"):
        ensemble.resume("last", output="quiet")
    run = ensemble.resume("last", output="quiet", force=True)
    assert run.outcome == "success"
    assert len(run.results()) == 3


def test_ctrl_c_while_iterating_drains_then_cancels(tmp_path: Path) -> None:
    script = _script(
        tmp_path,
        """
        from ensemble import Ensemble
        study = Ensemble("keys")
        study.group("a", "sleep 60", count=50)
        run = study.start()
        for event in run:
            print(type(event).__name__, getattr(event, "what", ""), getattr(event, "state", ""), flush=True)
        print(run.outcome, flush=True)
        """,
    )
    process = subprocess.Popen([sys.executable, str(script)], cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    seen: list[list[str]] = []
    pressed = 0
    for line in process.stdout:
        seen.append(line.split())
        runs = line.startswith("JobEvent") and line.endswith("run\n")
        if (runs and pressed == 0) or (line.startswith("Requested pause") and pressed == 1):
            pressed += 1
            process.send_signal(signal.SIGINT)
    assert process.wait(30) == 0
    assert seen[-1] == ["cancelled"]
    assert [one[1] for one in seen if one[0] == "Requested"] == ["release", "pause", "cancel"]
