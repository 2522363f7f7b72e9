"""Ensembles built in Python say what the file says, and are refused as the file is."""

import re
from pathlib import Path

import numpy as np
import pytest

import ensemble
from ensemble import Ensemble, InputError, SpecError
from ensemble.spec.loader import loads

EXAMPLES = Path(__file__).parents[2] / "examples"


def decide(metrics):
    return ensemble.stop()


class Holder:
    def method(self):
        return None


def test_the_same_words_give_the_same_ensemble() -> None:
    study = Ensemble("sweep", seed=3, limits={"jobs": 9}, directory="/tmp")
    melt = study.group("melt", "lmp -var T {T}", parameters={"T": [0.8, 1.1]}, count=2, walltime="20m", retries=1)
    study.rule("job-success", melt, action=melt.submit(1), repetitions=3, cooldown="10s")
    study.rule("metric", "mean.melt.duration", when="> 5", action="stop")
    text = """
name: sweep
seed: 3
limits: {jobs: 9}
jobs:
  - {name: melt, command: "lmp -var T {T}", parameters: {T: [0.8, 1.1]}, count: 2, walltime: 20m, retries: 1}
rules:
  - {trigger: job-success, name: melt, action: {name: submit, label: melt, value: 1, repetitions: 3, cooldown: 10s}}
  - {trigger: metric, name: mean.melt.duration, when: "> 5", action: {name: stop}}
"""
    assert study.spec() == loads(text, directory="/tmp")


def test_every_action_is_one_the_file_knows() -> None:
    made = [
        ensemble.submit("a", 2, {"x": [1]}),
        ensemble.cancel("a", ["run"]),
        ensemble.grow(2),
        ensemble.shrink(1, "local"),
        ensemble.scale(3),
        ensemble.avoid("n1"),
        ensemble.stop(),
        ensemble.terminate(),
        ensemble.stop_member("local"),
        ensemble.add_rule({"trigger": "idle", "action": {"name": "stop"}}),
        ensemble.switch_algorithm("random-selection"),
    ]
    study = Ensemble("all", members={"local": {"kind": "local", "nodes": {"min": 1, "max": 4}}})
    study.group("a", "true", parameters={"x": [1, 2]})
    for action in made:
        study.rule("job-fail", "a", action=action)
    assert [rule.action.name for rule in study.spec().rules] == [action["name"] for action in made]


def test_a_group_stands_in_expressions_and_paths() -> None:
    melt = Ensemble("e").group("melt", "true")
    assert f"count.{melt}.success > 3" == "count.melt.success > 3"
    assert melt.metric("mean", "pressure") == "mean.melt.pressure"
    assert melt.cancel(["run"]) == {"name": "cancel", "label": "melt", "states": ["run"]}


def test_numbers_and_arrays_of_numpy_are_plain_values() -> None:
    study = Ensemble("np", seed=np.int64(4))
    study.group("a", "echo {x}", parameters={"x": np.linspace(0, 1, 3), "y": range(2)}, count=np.int32(2))
    spec = study.spec()
    assert spec.seed == 4
    assert [point["x"] for point in spec.jobs[0].points] == [0.0, 0.0, 0.5, 0.5, 1.0, 1.0]


def test_a_mistake_is_shown_at_the_line_of_the_script_that_made_it() -> None:
    study = Ensemble("bad")
    study.group("good", "true")
    study.group("melt", "true", waltime="3m")
    study.rule("job-success", "metl", action="stop")
    with pytest.raises(SpecError) as caught:
        study.spec()
    first = str(caught.value).splitlines()[0]
    assert re.search(r"test_building\.py:\d+:1: jobs\[1\]", first), first
    assert "walltime" in first
    line = int(re.search(r":(\d+):", first)[1])
    assert "waltime" in Path(__file__).read_text().splitlines()[line - 1]


def test_an_unknown_group_in_a_rule_names_the_nearest_and_the_line() -> None:
    study = Ensemble("bad")
    study.group("melt", "true")
    study.rule("job-success", "metl", action="stop")
    with pytest.raises(SpecError, match=r"test_building\.py:\d+:1: rules\[0\].*melt"):
        study.spec()


@pytest.mark.parametrize("function", [lambda: None, Holder().method, Holder.method])
def test_a_function_that_another_process_cannot_find_is_refused(function) -> None:
    study = Ensemble("local")
    with pytest.raises(InputError, match="top level of a file"):
        study.rule("idle")(function)


def test_a_function_inside_a_function_is_refused() -> None:
    def inner():
        return None

    with pytest.raises(InputError, match="top level of a file"):
        Ensemble("local").rule("idle")(inner)


def test_a_typed_in_function_is_refused() -> None:
    space: dict = {"__name__": "__main__"}
    exec("def typed():\n    return None", space)
    with pytest.raises(InputError, match="in no file"):
        Ensemble("shell").rule("idle")(space["typed"])


def test_a_function_of_the_file_that_builds_the_ensemble_is_found_by_its_name() -> None:
    study = Ensemble("own")
    study.group("a", "true")
    assert study.rule("idle", id="end")(decide) is decide
    rule = study.spec().rules[0]
    assert (rule.id, rule.action.name, rule.action.label) == ("end", "custom", "decide")


def test_a_rule_with_an_action_decorates_nothing() -> None:
    study = Ensemble("twice")
    study.group("a", "true")
    decorator = study.rule("idle", action="stop")
    with pytest.raises(InputError, match="leave out `action`"):
        decorator(decide)


def test_an_ensemble_of_a_file_is_the_file() -> None:
    study = Ensemble.load(EXAMPLES / "hello-world.yaml")
    assert study.spec().name == "hello-world"
    with pytest.raises(InputError, match="change the file"):
        study.group("more", "true")
    with pytest.raises(InputError, match="plain form"):
        study.to_dict()


def test_the_plain_form_is_the_files() -> None:
    study = Ensemble("plain", seed=1)
    study.group("a", "true", count=2)
    study.rule("idle", action="stop")
    assert study.to_dict() == {
        "name": "plain",
        "seed": 1,
        "jobs": [{"name": "a", "command": "true", "count": 2}],
        "rules": [{"trigger": "idle", "action": {"name": "stop"}}],
    }


def test_everything_public_is_there_and_nothing_is_imported_before_it_is_used() -> None:
    import subprocess
    import sys

    assert all(getattr(ensemble, name) is not None for name in ensemble.__all__)
    assert set(ensemble.__all__) <= set(dir(ensemble))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = ensemble.nothing
    code = "import sys, ensemble; print(sorted(name for name in sys.modules if name.startswith('ensemble.')))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


def test_a_simulation_takes_the_ensemble_as_it_is() -> None:
    study = Ensemble("virtual", seed=1)
    a = study.group("a", "true", count=10, simulate={"duration": 5}, tasks=1)
    study.rule("metric", when=f"count.{a}.success == 4", action="terminate")
    result = study.simulate(repeat=2)
    assert [run.outcome for run in result.runs] == ["terminated", "terminated"]
