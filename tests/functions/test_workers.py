"""The life of the workers: their output, the order of calls, and their end."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

from ensemble.functions import FunctionWorkers
from ensemble.functions.process import LOG_LIMIT
from ensemble.model.events import FunctionReturned


def test_a_request_larger_than_a_pipe_goes_through(made: Callable[..., FunctionWorkers]) -> None:
    workers = made("def f(event): return Action(name='submit', value=len(event))")
    assert workers.call_sync(1, "f", {"event": "x" * 3_000_000}).results[0]["value"] == 3_000_000


def test_what_functions_print_goes_to_the_log_of_the_run_in_every_way_they_can(
    made: Callable[..., FunctionWorkers], tmp_path: Path
) -> None:
    workers = made(
        """
        import os, sys
        print("loading")
        def f():
            print("print"); sys.stderr.write("error\\n"); os.write(1, b"raw\\n"); os.system("echo child")
            assert sys.stdin.read() == ""
            return Action(name="stop")
        """,
        str(tmp_path),
    )
    assert workers.call_sync(1, "f", {}).results == ({"name": "stop"},)
    assert (tmp_path / "functions.log").read_text().split() == ["loading", "print", "error", "raw", "child"]


def test_the_log_stays_bounded_whatever_is_printed(made: Callable[..., FunctionWorkers], tmp_path: Path) -> None:
    workers = made("def f():\n    for _ in range(40): print('x' * (1 << 20))", str(tmp_path))
    assert workers.call_sync(1, "f", {}).error == ""
    size = (tmp_path / "functions.log").stat().st_size
    assert LOG_LIMIT <= size <= LOG_LIMIT + 1000


def test_a_log_that_cannot_be_written_is_no_fault(made: Callable[..., FunctionWorkers], tmp_path: Path) -> None:
    workers = made("def f(): print('x')", str(tmp_path / "not" / "there"))
    assert workers.call_sync(1, "f", {}) == FunctionReturned(1)


def test_one_worker_keeps_order_and_state_between_calls(made: Callable[..., FunctionWorkers]) -> None:
    workers = made("seen = []\ndef f(now):\n    seen.append(now)\n    return Action(name='submit', value=list(seen))")

    async def several() -> list[FunctionReturned]:
        return list(await asyncio.gather(*(workers.call(n, "f", {"now": n}) for n in range(5))))

    answers = asyncio.run(several())
    assert [answer.results[0]["value"] for answer in answers] == [list(range(n + 1)) for n in range(5)]


def test_several_workers_call_at_the_same_time(made: Callable[..., FunctionWorkers], tmp_path: Path) -> None:
    # each call waits for the other's file: one at a time they would both hang
    workers = made(
        f"""
        import os, time
        def f(now):
            open(os.path.join({str(tmp_path)!r}, str(now)), "w").close()
            while not os.path.exists(os.path.join({str(tmp_path)!r}, str(1 - now))): time.sleep(0.01)
        """,
        workers=2,
    )

    async def both() -> list[FunctionReturned]:
        return list(await asyncio.gather(*(workers.call(n, "f", {"now": n}) for n in range(2))))

    assert asyncio.run(both()) == [FunctionReturned(0), FunctionReturned(1)]


def test_closing_ends_a_call_under_way_and_leaves_no_process(
    made: Callable[..., FunctionWorkers], tmp_path: Path
) -> None:
    note = tmp_path / "pid"
    workers = made(
        f"""
        import os
        def f():
            open({str(note)!r} + ".part", "w").write(str(os.getpid()))
            os.rename({str(note)!r} + ".part", {str(note)!r})
            while True: pass
        """
    )

    async def close_it() -> FunctionReturned:
        task = asyncio.create_task(workers.call(1, "f", {}))
        while not note.exists():  # noqa: ASYNC110 - another process makes it
            await asyncio.sleep(0.01)
        await workers.close()
        return await task

    assert asyncio.run(close_it()).fault == "died"
    assert not Path(f"/proc/{note.read_text()}").exists()
    assert workers.call_sync(2, "f", {}).fault == "died"


def test_the_worker_that_was_checked_is_the_one_that_answers(made: Callable[..., FunctionWorkers]) -> None:
    workers = made("import os\ndef f(): return Action(name='submit', value=os.getpid())")
    assert workers.check(["f"]) == {}
    process = workers._workers[0]._process
    assert process is not None
    assert workers.call_sync(1, "f", {}).results[0]["value"] == process.pid


def test_a_fork_of_the_engine_leaves_the_worker_alone(made: Callable[..., FunctionWorkers]) -> None:
    workers = made("import os\ndef f(): return Action(name='submit', value=os.getpid())")
    before = workers.call_sync(1, "f", {}).results[0]["value"]
    child = os.fork()
    if not child:
        workers.close_sync()
        os._exit(0)
    os.waitpid(child, 0)
    assert workers.call_sync(2, "f", {}).results[0]["value"] == before


def test_a_worker_that_cannot_start_is_a_fault(made: Callable[..., FunctionWorkers], tmp_path: Path) -> None:
    answer = made("", directory=str(tmp_path / "gone")).call_sync(1, "f", {})
    assert answer.fault == "died"
    assert "no worker can be started" in answer.error
