"""Options are checked before anything runs: each mistake names itself and what would be right."""

import json

import pytest

from ensemble.algorithms import BUILTIN
from ensemble.engine.algorithm import GroupView
from ensemble.model.errors import InputError
from ensemble.spec.model import RuleSpec

NAMES = [
    "workload-demand",
    "random-selection",
    "workload-success",
    "select-fastest-runtime",
    "select-longest-runtime",
    "cost-selection",
    "successive-halving",
]
NEEDED = {"successive-halving": {"figure": "loss"}}
"""Options without which an algorithm is refused."""


class OneGroup:
    def groups(self):
        return [GroupView("melt", (), 1, 5000, 0, 1, "", 0, 0, 0, 0, 0, 0, 0)]


def test_the_built_in_algorithms_are_these():
    assert list(BUILTIN) == NAMES
    assert [algorithm.name for algorithm in BUILTIN.values()] == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_checked_options_are_complete_plain_and_stay_the_same_when_checked_again(name):
    options = BUILTIN[name].validate(NEEDED.get(name, {}))
    assert options
    assert json.loads(json.dumps(options)) == options
    assert BUILTIN[name].validate(options) == options


def test_workload_demand_has_the_options_and_defaults_of_the_issue():
    options = BUILTIN["workload-demand"].validate({})
    assert options == {
        "groups": [],
        "order": "random",
        "terminateChecks": 10,
        "disableTermination": False,
        "scaleUpStrategy": "nextJob",
        "scaleDownStrategy": "excessNodes",
        "scaleChecks": 5,
        "checkSeconds": 10.0,
    }


@pytest.mark.parametrize("name", NAMES)
def test_an_unknown_option_is_refused_with_the_nearest_name(name):
    with pytest.raises(InputError, match=r"no option is called 'group'; did you mean 'groups'\?"):
        BUILTIN[name].validate({"group": "melt"})


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("workload-demand", {"order": "ascend"}, r"order cannot be 'ascend'; did you mean 'ascending'\?"),
        ("workload-demand", {"order": 7}, "order cannot be 7; .*random, ascending, descending, listed"),
        ("workload-demand", {"scaleChecks": 0}, "scaleChecks cannot be 0: expected int >= 1"),
        ("workload-demand", {"scaleChecks": "5"}, "scaleChecks cannot be '5': expected int, got str"),
        ("workload-demand", {"disableTermination": "perhaps"}, "disableTermination cannot be 'perhaps'"),
        ("workload-demand", {"checkSeconds": 0}, "checkSeconds cannot be 0"),
        ("workload-demand", {"checkSeconds": float("nan")}, "checkSeconds cannot be nan"),
        ("workload-demand", {"scale_checks": 5}, "did you mean 'scaleChecks'"),
        ("random-selection", {"count": -1}, "count cannot be -1"),
        ("random-selection", {"count": "all"}, "count cannot be 'all'"),
        ("random-selection", {"replace": True}, "replace needs a count"),
        ("random-selection", {"replace": "yes", "count": "unlimited"}, "needs atOnce"),
        ("workload-success", {"successes": 1.5}, "successes cannot be 1.5"),
        ("workload-success", {"per": "job"}, "there are: group, point|expected one of: group, point"),
        ("select-fastest-runtime", {"ahead": 0}, "ahead cannot be 0"),
        ("cost-selection", {"minimum": 0}, "minimum cannot be 0"),
        ("cost-selection", {"axis": 3}, "axis cannot be 3"),
    ],
)
def test_an_impossible_value_is_refused_in_words(name, options, message):
    with pytest.raises(InputError, match=message) as caught:
        BUILTIN[name].validate(options)
    assert str(caught.value).startswith(name)
    assert "\n" not in str(caught.value)


def test_the_older_words_for_yes_and_no_are_read():
    validate = BUILTIN["workload-demand"].validate
    assert validate({"disableTermination": "yes"})["disableTermination"] is True
    assert validate({"disableTermination": "No"})["disableTermination"] is False


@pytest.mark.parametrize("name", NAMES)
def test_a_group_that_does_not_exist_is_refused_with_the_nearest_name(name):
    algorithm = BUILTIN[name]
    with pytest.raises(InputError, match="did you mean 'melt'"):
        algorithm.rules(algorithm.validate({**NEEDED.get(name, {}), "groups": ["mel"]}), OneGroup())


@pytest.mark.parametrize("name", NAMES)
def test_one_group_may_be_named_without_a_list(name):
    assert BUILTIN[name].validate({**NEEDED.get(name, {}), "groups": "melt"})["groups"] == ["melt"]


@pytest.mark.parametrize("name", NAMES)
def test_rules_call_steps_the_algorithm_has_and_are_named_apart(name):
    algorithm = BUILTIN[name]
    rules = algorithm.rules(algorithm.validate({**NEEDED.get(name, {}), "groups": ["melt"]}), OneGroup())
    assert rules[0].trigger == "start"
    assert len({rule.id for rule in rules}) == len(rules)
    for rule in rules:
        assert isinstance(rule, RuleSpec)
        assert rule.action.name == "algorithm"
        assert rule.action.label in algorithm.steps()
        assert rule.trigger != "idle", "an idle rule that does nothing would fire for ever"
