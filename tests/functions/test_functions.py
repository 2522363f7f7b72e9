"""What people's functions are given, what may come back, and that nothing they do hurts anybody else."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ensemble.functions import FunctionWorkers, check_functions
from ensemble.functions.process import LOG_LIMIT
from ensemble.model.errors import InputError
from ensemble.model.events import FunctionReturned
from ensemble.spec.model import EnsembleSpec

ARGS: dict[str, Any] = {
    "metrics": {
        "mean": {"sleep": {"duration": 1.5, "pending": 0.25}, "a.b": {"duration": 7.0}},
        "count": {"sleep": {"success": 3}},
        "points": {"sleep": [{"values": {"T": 1.0}}]},
    },
    "event": {"type": "job", "key": "sleep-3"},
    "rule": {"trigger": "metric", "action": {"name": "custom", "label": "f"}},
    "action": {"name": "custom", "label": "f", "options": {"depth": 2}, "parameters": {"T": [1]}},
    "binding": {"T": 1.1},
    "now": 12.5,
}


def as_it_is(result: dict[str, Any]) -> dict[str, Any]:
    return result


Call = Callable[..., FunctionReturned]


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


# ---- what a function is given ----------------------------------------------------------------------


def test_a_function_with_kwargs_gets_everything(call: Call) -> None:
    answer = call(
        """
        def f(**kwargs):
            return Action(name="submit", label=",".join(sorted(kwargs)))
        """
    )
    assert answer.results[0]["label"] == "action,binding,event,metrics,now,options,parameters,rule"


def test_a_function_that_names_some_gets_only_these(call: Call) -> None:
    answer = call("def f(event, *, options, other=5): return Action(name=event.key, value=options.depth + other)")
    assert answer.results == ({"name": "sleep-3", "value": 7},)


def test_metrics_are_read_as_mapping_as_attributes_by_path_and_the_older_way(call: Call) -> None:
    answer = call(
        """
        def f(metrics, rule):
            ways = [
                metrics["mean"]["sleep"]["duration"],
                metrics.mean.sleep.duration,
                metrics.get("mean.sleep.duration"),
                metrics.models["mean"]["sleep-duration"].get(),
            ]
            return [
                Action(name="a", value=ways),
                Action(name="b", value=metrics.models["count"]["sleep"]["success"].get()),
                Action(name="c", value=[metrics.get("mean.a.b.duration"), metrics.get("mean.none.duration", -1)]),
                Action(name="d", value=[rule.action.label, rule["trigger"]]),
            ]
        """
    )
    assert [one["value"] for one in answer.results] == [[1.5] * 4, 3.0, [7.0, -1], ["f", "metric"]]


def test_metrics_cannot_be_changed(call: Call) -> None:
    assert "read only" in call("def f(metrics): metrics['mean'] = {}").error


def test_a_name_that_is_not_there_is_an_attribute_error_that_says_what_is(call: Call) -> None:
    answer = call("def f(metrics): metrics.mean.slep")
    assert answer.error == "f: AttributeError: no 'slep' here; there is sleep, a.b"


# ---- where functions come from ---------------------------------------------------------------------


def test_code_of_ensemble_python_loads_as_it_is(call: Call) -> None:
    answer = call(
        """
        import ensemble.config.types
        from ensemble.config.types import Action, Rule

        def f(**kwargs):
            rule = Rule({"trigger": "job-finish", "name": "sleep", "action": {"name": "terminate"}})
            return [Action({"name": "submit", "label": "echo"}), rule]
        """
    )
    assert answer.results == (
        {"name": "submit", "label": "echo"},
        {"trigger": "job-finish", "name": "sleep", "action": {"name": "terminate"}},
    )


def test_custom_may_be_a_file_beside_the_ensemble_file(call: Call, tmp_path: Path) -> None:
    (tmp_path / "json.py").write_text("raise SystemExit('a file beside it stands in for the library')")
    (tmp_path / "beside.py").write_text("LABEL = 'echo'")
    (tmp_path / "mine.py").write_text(
        "from __future__ import annotations\nimport dataclasses, beside\n"
        "@dataclasses.dataclass\nclass Point:\n    x: int\n"
        "def f(): return Action(name='submit', label=beside.LABEL, value=Point(3).x)\n"
    )
    answer = call("mine.py", directory=str(tmp_path))
    assert answer.results == ({"name": "submit", "label": "echo", "value": 3},)


def test_a_function_may_be_in_a_module_found_by_path(call: Call, tmp_path: Path) -> None:
    (tmp_path / "elsewhere.py").write_text("def f(**_): return {'name': 'stop'}")
    assert call("", "elsewhere:f", paths=[str(tmp_path)]).results == ({"name": "stop"},)
    assert "has no function 'g'" in call("", "elsewhere:g", paths=[str(tmp_path)]).error


def test_functions_of_the_script_are_called_bare_and_the_script_is_told_where_it_is(
    made: Callable[..., FunctionWorkers], tmp_path: Path
) -> None:
    script = tmp_path / "study.py"
    script.write_text(
        textwrap.dedent(
            """
            import os
            class Decorated:
                def __init__(self, function): self.function = function
                def __call__(self): raise TypeError("not this one")
            @Decorated
            def f(**_): return {"name": "stop", "label": os.environ["ENSEMBLE_FUNCTION_WORKER"]}
            """
        )
    )
    assert made("", script=str(script)).call_sync(1, "f", {}).results == ({"name": "stop", "label": "1"},)


def test_a_function_that_is_not_there_is_named_with_the_nearest(call: Call) -> None:
    assert call("def echo_again(): pass", "echo_agian").error == (
        "echo_agian: no function is called 'echo_agian'; did you mean 'echo_again'?"
    )
    assert call("", "f").error == "f: no function is called 'f'; there is no custom code"


# ---- what may come back ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("returned", "expected"),
    [
        ("None", ()),
        ("[]", ()),
        ("[None, Action(name='stop')]", ({"name": "stop"},)),
        ("(Action({'name': 'stop'}), {'name': 'terminate'})", ({"name": "stop"}, {"name": "terminate"})),
        ("Action({'name': 'submit', 'label': 'x'}, value=2)", ({"name": "submit", "label": "x", "value": 2},)),
    ],
)
def test_nothing_an_action_a_rule_or_a_list_of_them_may_come_back(call: Call, returned: str, expected: Any) -> None:
    assert call(f"def f(): return {returned}").results == expected


def test_numbers_of_other_libraries_are_numbers(call: Call) -> None:
    answer = call(
        """
        class Float32:
            ndim = 0
            def item(self): return 0.5
        def f(): return Action(name="grow", value=Float32())
        """
    )
    assert answer.results == ({"name": "grow", "value": 0.5},)


@pytest.mark.parametrize(
    ("returned", "said"),
    [
        ("5", "5 is not an action, a rule or None"),
        ("'submit'", "'submit' is not an action"),
        ("Action(name='submit', value=float('nan'))", "not JSON compliant"),
        ("Action(name='submit', value=1e999)", "not JSON compliant"),
        ("Action(name='submit', value={1, 2})", "set is not plain data"),
        ("Action(name='submit', value='x' * 2000000)", "at most 1,048,576 are taken"),
        ("Action(name='submit', value=open)", "is not plain data"),
    ],
)
def test_nonsense_is_a_fault_that_says_what_it_was(call: Call, returned: str, said: str) -> None:
    answer = call(f"def f(): return {returned}")
    assert (answer.fault, answer.results) == ("nonsense", ())
    assert said in answer.error
    assert "\n" not in answer.error


def test_a_structure_that_holds_itself_is_nonsense(call: Call) -> None:
    answer = call(
        """
        def f():
            a = {}
            a["a"] = a
            return a
        """
    )
    assert answer.fault == "nonsense"


def test_what_comes_back_is_validated_and_taken_in_its_full_form(call: Call) -> None:
    def validate(result: dict[str, Any]) -> dict[str, Any]:
        if result["name"] != "submit":
            raise InputError("no such\naction")
        return {**result, "value": 1}

    assert call("def f(): return Action(name='submit')", validate=validate).results == ({"name": "submit", "value": 1},)
    bad = call("def f(): return Action(name='sumbit')", validate=validate)
    assert (bad.fault, bad.error) == ("nonsense", "f returned nonsense: no such action")


# ---- faults ----------------------------------------------------------------------------------------


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


def wait_until_gone(pid: int) -> None:
    until = time.monotonic() + 20
    while time.monotonic() < until:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return
        except (FileNotFoundError, ProcessLookupError):
            return
        time.sleep(0.01)
    os.kill(pid, signal.SIGKILL)
    pytest.fail(f"process {pid} is still there")


def test_a_request_larger_than_a_pipe_goes_through(made: Callable[..., FunctionWorkers]) -> None:
    workers = made("def f(event): return Action(name='submit', value=len(event))")
    assert workers.call_sync(1, "f", {"event": "x" * 3_000_000}).results[0]["value"] == 3_000_000


# ---- output, order, life ---------------------------------------------------------------------------


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


# ---- before a run ----------------------------------------------------------------------------------


def test_check_finds_what_is_missing_or_unfit_and_nothing_else() -> None:
    spec = EnsembleSpec(
        custom="def good(**_): pass\ndef plain(): pass\ndef odd(handle): pass\ndef first(metrics, /): pass\nvalue = 3"
    )
    assert check_functions(spec, ["good", "plain", "odd", "first", "value", "god"]) == {
        "odd": "it needs 'handle'; a function is given job, metrics, points, event, rule, action, options, "
        "parameters, binding, now",
        "first": "its parameter 'metrics' cannot be given by name",
        "value": "'value' is not a function; it is of type int",
        "god": "no function is called 'god'; did you mean 'good'?",
    }


def test_check_says_why_code_does_not_load() -> None:
    assert check_functions(EnsembleSpec(custom="import no_such_module_here"), ["f"]) == {
        "f": "the custom code does not load: ModuleNotFoundError: No module named 'no_such_module_here'"
    }
    assert check_functions(EnsembleSpec(custom="import os; os._exit(4)"), ["f"]) == {
        "f": "the custom code ended its process (exit code 4 while it loaded the code)"
    }
    assert "No such file" in check_functions(EnsembleSpec(custom="none.py"), ["f"])["f"]
