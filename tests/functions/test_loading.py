"""Where functions come from, what they are given, and what is found out about them before a run."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from pathlib import Path

from ensemble.functions import FunctionWorkers, check_functions
from ensemble.spec.model import EnsembleSpec
from tests.functions.world import Call


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
