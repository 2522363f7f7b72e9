"""What is asked of a run is answered: it is done, or refused with the reason."""

import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import ensemble
from ensemble import Ensemble, InputError, Refused, open_run
from ensemble.journal import read
from ensemble.model.events import JobEvent, Requested
from ensemble.runtime import requests


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENSEMBLE_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)


def study(command: str = "true", **keys) -> Ensemble:
    made = Ensemble("asked", **keys)
    made.group("a", command, parameters={"x": [1]}, outputs={"x": r"x (\d+)"})
    return made


def xs(run) -> list[int]:
    return sorted(row["x"] for row in run.results())


def test_a_new_point_that_is_asked_for_is_made() -> None:
    with study("echo x {x}").start() as run:
        answer = run.act({"name": "submit", "label": "a", "value": 2, "parameters": {"x": [7]}})
        assert answer.jobs == ("a-1", "a-2")
        assert run.job("a-2").parameters == {"x": 7}
    assert xs(run) == [1, 7, 7]


@pytest.mark.parametrize(
    ("action", "why"),
    [
        ({"name": "submit", "label": "b"}, "no group 'b'"),
        ({"name": "sumbit", "label": "a"}, "Did you mean submit"),
        ({"name": "submit", "label": "a", "parameters": {"y": [1]}}, "a point of a has x, not y"),
        ({"name": "scale", "value": 1}, "stays at 1 node"),
    ],
)
def test_what_cannot_be_done_is_refused_with_the_reason(action, why) -> None:
    with study("sleep 0.2").start() as run, pytest.raises(InputError, match=why):
        run.act(action)
    assert run.outcome == "success"


def test_what_is_submitted_while_the_run_drains_waits_for_a_resume(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    with study(f"sh -c 'until test -e {gate}; do sleep 0.05; done'").start() as run:
        next(one for one in run.records() if isinstance(one.event, JobEvent) and one.event.state == "run")
        run.drain()
        run.act({"name": "submit", "label": "a"})
        gate.touch()
    assert (run.outcome, sorted(row["outcome"] for row in run.results())) == ("drained", ["active", "success"])
    assert ensemble.resume(run.path, output="quiet").outcome == "success"


def test_a_run_that_is_over_refuses_and_says_how_it_ended() -> None:
    run = study().run(output="quiet")
    for one in (run, open_run(run.path)):
        with pytest.raises(InputError, match=r"over \(success\)"):
            one.act({"name": "submit", "label": "a"})


def test_what_is_asked_under_a_key_is_done_once_and_its_jobs_are_the_answer() -> None:
    with study("sleep 0.1").start() as run:
        first = run.submit("a", points=[{"x": 3}], key="k")
        assert run.submit("a", points=[{"x": 4}], key="k") == first
        assert [job.key for job in run.submit("a", points=[{"x": 4}], key="l")] == ["a-2"]
    assert [job.key for job in run.submit("a", points=[{"x": 4}], key="l")] == ["a-2"], "known also when it is over"
    with pytest.raises(Refused, match=r"over \(success\)"):
        run.submit("a", key="m")
    assert xs(run) == [1, 3, 4]


def test_what_is_asked_at_the_last_moment_is_done_or_refused_each_of_200_times(tmp_path: Path) -> None:
    made = Ensemble("last")
    made.group("a", "true", submit="rules", simulate={"duration": 0.001})
    done, refused = 0, 0
    for turn in range(200):
        run = made.start(run_dir=tmp_path / str(turn), member="simulated")
        keys = list(run.act(ensemble.submit("a", 1)).jobs) if turn % 2 else []
        # once released it ends by itself: what is asked comes before that or after
        closing = threading.Thread(target=run.wait)
        closing.start()
        try:
            for _ in range(3):
                keys += run.act(ensemble.submit("a", 1)).jobs
        except Refused:
            refused += 1
        closing.join()
        done += len(keys)
        assert sorted(row["key"] for row in run.results()) == keys, f"turn {turn}: what was done was not answered so"
    assert done
    assert refused


OTHER = """
import sys
from ensemble import open_run
for _ in range(int(sys.argv[2])):
    print(*open_run(sys.argv[1]).act({"name": "submit", "label": "a", "value": 1}).jobs, flush=True)
"""


def other(run_dir: Path, times: int = 1) -> subprocess.Popen:
    command = [sys.executable, "-c", OTHER, str(run_dir), str(times)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_another_process_gets_the_keys_of_the_jobs_that_it_asked_for(tmp_path: Path) -> None:
    with study("sleep 0.1").start(run_dir=tmp_path / "run") as run:
        out, error = other(run.path, 3).communicate(timeout=60)
        assert out.split() == ["a-1", "a-2", "a-3"], error
    assert len(run.results()) == 4
    assert not list((run.path / "requests").glob("*.*"))


def test_another_process_that_asks_as_the_run_ends_is_answered(tmp_path: Path) -> None:
    with study().start(run_dir=tmp_path / "run") as run:
        asking = other(run.path, 100_000)
        asked = [asking.stdout.readline().split() for _ in range(5)]
        run.drain()
    out, error = asking.communicate(timeout=60)
    done = [key for key in (*(one for line in asked for one in line), *out.split()) if key]
    assert "Refused" in error or "no process works on" in error
    assert sorted(done) == sorted(row["key"] for row in run.results() if row["key"] != "a-0")


def test_a_request_that_a_killed_process_had_taken_in_is_answered_once(tmp_path: Path) -> None:
    script = tmp_path / "study.py"
    script.write_text(
        "from ensemble import Ensemble\n"
        "made = Ensemble('asked')\n"
        "made.group('a', 'true', parameters={'x': [1]})\n"
        "with made.start(run_dir='run', resume=True) as run:\n"
        "    print('open', flush=True)\n"
        "    input()\n"
    )
    process = subprocess.Popen([sys.executable, str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "open\n"
    run_dir = tmp_path / "run"
    answer = requests.ask(
        run_dir, Requested("action", "me", action={"name": "submit", "label": "a", "value": 1}, id="1")
    )
    # as if it had been killed between the journal and the answer
    process.send_signal(signal.SIGKILL)
    process.wait()
    (run_dir / "requests" / "1.1.taken").write_text('{"type": "request", "what": "action", "id": "1"}')
    again = subprocess.run([sys.executable, str(script)], input="\n", capture_output=True, text=True, timeout=60)
    assert again.returncode == 0, again.stderr
    assert (run_dir / "requests" / "1.answer").exists()
    asked = [record.seq for record in read(run_dir) if isinstance(record.event, Requested) and record.event.id == "1"]
    assert asked == [answer.seq]
