"""What a function may return, and what is said of the rest."""

from __future__ import annotations

from typing import Any

import pytest

from ensemble.model.errors import InputError
from tests.functions.world import Call


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
