"""Nothing that a function does hurts anybody else: it raises, hangs, dies, or leaves processes behind."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ensemble.functions import FunctionWorkers
from ensemble.spec.model import EnsembleSpec
from tests.functions.world import Call, as_it_is, wait_until_gone


def test_an_exception_is_one_line_and_its_traceback_shows_only_their_code(call: Call) -> None:
    answer = call(
        """
        def g():
            raise ValueError("first\\nsecond")
        def f(): g()
        """
    )
    assert (answer.fault, answer.error) == ("raised", "f: ValueError: first second")
    assert 'raise ValueError("first' in answer.detail
    assert 'File "<custom>", line 3, in g' in answer.detail
    assert "worker.py" not in answer.detail
    assert answer.command == 7


@pytest.mark.parametrize("way", ["sys.exit(3)", "raise KeyboardInterrupt", "raise BaseException('x')", "exit()"])
def test_leaving_by_an_exception_is_no_more_than_an_exception(call: Call, way: str) -> None:
    assert call(f"import sys\ndef f(): {way}").fault == "raised"


def test_an_exception_that_cannot_be_shown_is_still_an_answer(call: Call) -> None:
    answer = call(
        """
        class Bad(Exception):
            def __str__(self): raise RuntimeError
        def f(): raise Bad
        """
    )
    assert (answer.fault, answer.error) == ("raised", "f: Bad: (its text cannot be shown)")


@pytest.mark.parametrize("code", ["def f(: pass", "import no_such_module_here", "1 / 0", "import sys; sys.exit(1)"])
def test_code_that_does_not_load_fails_each_call_and_says_why(made: Callable[..., FunctionWorkers], code: str) -> None:
    workers = made(code)
    first, second = workers.call_sync(1, "f", {}), workers.call_sync(2, "f", {})
    assert first.fault == second.fault == "raised"
    assert first.error == second.error
    assert "Error" in first.error or "SystemExit" in first.error


@pytest.mark.parametrize(
    "hang",
    ["while True: pass", "import time; time.sleep(60)", "sum(range(10**13))", "import select; select.poll().poll()"],
)
def test_a_hang_is_cut_at_the_limit_and_says_where_it_was(made: Callable[..., FunctionWorkers], hang: str) -> None:
    workers = made(f"def f(hang=True):\n    {hang}\ndef g(): return Action(name='stop')", time_limit=0.5)
    answer = workers.call_sync(1, "f", {})
    assert (answer.fault, answer.error) == ("hung", "f took more than 0.5 s")
    assert 'File "<custom>", line 2 in f' in answer.detail
    assert workers.call_sync(2, "g", {}).results == ({"name": "stop"},)


def test_a_worker_that_is_stopped_is_ended_from_outside(made: Callable[..., FunctionWorkers]) -> None:
    workers = made("import os, signal\ndef f(): os.kill(os.getpid(), signal.SIGSTOP)", time_limit=0.2)
    assert workers.call_sync(1, "f", {}).fault == "hung"


def test_code_that_hangs_while_loading_is_cut_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ensemble.functions.workers.LOAD_LIMIT", 0.5)
    workers = FunctionWorkers(EnsembleSpec(custom="while True: pass"), time_limit=0.5, validate=as_it_is)
    try:
        assert workers.call_sync(1, "f", {}).fault == "hung"
    finally:
        workers.close_sync()


@pytest.mark.parametrize(
    ("death", "how"),
    [
        ("os._exit(3)", "exit code 3"),
        ("os.kill(os.getpid(), signal.SIGSEGV)", "signal 11"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "signal 9"),
        ("os.closerange(3, 100)", "exit code 1"),
    ],
)
def test_a_death_is_a_fault_with_its_cause_and_the_next_call_has_a_new_worker(
    made: Callable[..., FunctionWorkers], death: str, how: str
) -> None:
    workers = made(
        f"import os, signal\ndef f():\n    print('last words')\n    {death}\ndef g(): return Action(name='stop')"
    )
    answer = workers.call_sync(1, "f", {})
    assert (answer.fault, answer.error) == ("died", f"f ended its process ({how})")
    assert "last words" in answer.detail
    assert workers.call_sync(2, "g", {}).results == ({"name": "stop"},)


def test_writing_into_our_pipe_is_the_end_of_that_worker_only(made: Callable[..., FunctionWorkers]) -> None:
    workers = made(
        """
        import os
        def f():
            for number in range(3, 20):
                try: os.write(number, b"x" * 64)
                except OSError: pass
        def g(): return Action(name="stop")
        """
    )
    assert workers.call_sync(1, "f", {}).fault == "died"
    assert workers.call_sync(2, "g", {}).results == ({"name": "stop"},)


def test_what_a_function_started_ends_with_its_hang(made: Callable[..., FunctionWorkers], tmp_path: Path) -> None:
    note = tmp_path / "pid"
    workers = made(
        f"""
        import subprocess, time
        def f():
            child = subprocess.Popen(["sleep", "300"])
            open({str(note)!r}, "w").write(str(child.pid))
            time.sleep(300)
        """,
        time_limit=0.5,
    )
    assert workers.call_sync(1, "f", {}).fault == "hung"
    wait_until_gone(int(note.read_text()))


def test_the_end_of_the_engine_is_the_end_of_a_hanging_function(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    code = (
        "import sys; from ensemble.functions import FunctionWorkers; from ensemble.spec.model import EnsembleSpec\n"
        "FunctionWorkers(EnsembleSpec(custom=sys.argv[1])).call_sync(1, 'f', {})"
    )
    custom = f"import os\ndef f():\n    open({str(note)!r} + '.part', 'w').write(str(os.getpid()))\n" + (
        f"    os.rename({str(note)!r} + '.part', {str(note)!r})\n    while True: pass"
    )
    engine = subprocess.Popen([sys.executable, "-c", code, custom])
    until = time.monotonic() + 30
    while not note.exists():
        assert time.monotonic() < until
        time.sleep(0.01)
    engine.kill()
    engine.wait()
    wait_until_gone(int(note.read_text()))
