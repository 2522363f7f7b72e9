"""One table of actions: the file, the checks, the reference and the engine know an action from one object."""

import pytest

from ensemble.engine.actions import Action, register_action
from ensemble.model.decisions import Avoid
from ensemble.model.errors import SpecError
from ensemble.model.events import Requested
from ensemble.spec import actions as table
from ensemble.spec.loader import loads
from ensemble.spec.reference import reference
from ensemble.spec.schema import schema
from tests.engine.test_actions import ask
from tests.engine.world import World, effects, notes, steps

FILE = """
jobs: [{name: a, command: x, count: 2}]
rules: [{trigger: job-success, name: a, action: {name: quarantine, host: n1}}]
"""


@pytest.fixture
def quarantine(monkeypatch):
    """An action of another package, in one object."""
    monkeypatch.setattr(table, "_table", dict(table.actions()))

    def check(check, action):
        if not action.host:
            check.complain("quarantine needs a `host`")

    register_action(
        Action(
            name="quarantine",
            meaning="Set `host` aside.",
            keys=("host",),
            while_draining=True,
            check=check,
            effects=lambda context, action, cause: [Avoid((action.host,))],
        )
    )


def test_an_action_of_another_package_is_read_checked_described_and_carried_out(quarantine):
    world = World(FILE)
    world.good("a-0")
    assert world.engine.state.avoid == ("n1",)
    assert "| `quarantine` | Set `host` aside. |" in reference()
    assert "quarantine" in schema()["$defs"]["ActionSpec"]["properties"]["name"]["enum"]
    with pytest.raises(SpecError, match="quarantine needs a `host`"):
        loads(FILE.replace(", host: n1", ""))
    with pytest.raises(SpecError, match="quarantine takes no `label`"):
        loads(FILE.replace("host: n1", "host: n1, label: a"))


def test_a_name_is_registered_once_and_a_key_must_be_one_of_an_action(quarantine):
    with pytest.raises(ValueError, match="there is an action 'quarantine' already"):
        register_action(table.ActionType(name="quarantine", meaning=""))
    with pytest.raises(ValueError, match="an action has no key 'colour'"):
        register_action(table.ActionType(name="paint", meaning="", keys=("colour",)))


@pytest.mark.parametrize("name", [name for name, kind in table.actions().items() if kind.name == name])
def test_what_is_asked_for_while_draining_is_done_or_refused_with_the_reason(name):
    world = World("jobs: [{name: a, command: x, count: 2}]\nmembers: {local: {nodes: {min: 1, max: 9, start: 3}}}")
    world.run("a-0")
    world.tell(Requested("drain", "me"))
    refused = effects(ask(world, name, label="a", value=2), "note", name="draining")
    assert len(refused) == (0 if table.actions()[name].while_draining else 1)


def test_grow_and_scale_are_treated_alike():
    grow, scale = table.actions()["grow"], table.actions()["scale"]
    assert (grow.while_draining, grow.grows) == (scale.while_draining, scale.grows) == (False, True)


def test_a_rule_that_a_person_adds_while_draining_is_refused():
    world = World("jobs: [{name: a, command: x, count: 2}]")
    world.run("a-0")
    world.tell(Requested("drain", "me"))
    world.tell(Requested("add-rule", "me", action={"trigger": "idle", "action": {"name": "stop"}}))
    assert len(notes(world, "draining")) == 1
    assert world.engine.explain() == []


def test_a_match_while_the_run_is_ending_is_recorded_once_and_explained():
    world = World("""
jobs: [{name: a, command: x, count: 3}]
rules:
  - {trigger: job-run, name: a, action: stop}
  - {id: more, trigger: job-success, name: a, action: {name: submit, label: a, repetitions: unlimited}}
""")
    for key in ("a-0", "a-1", "a-2"):
        world.good(key)
    assert len(steps(world.records, "held", rule="more", by="ending")) == 1
    assert [one.waits_for for one in world.engine.explain("more")] == [
        "will not fire: it matched while the run was ending (stop)"
    ]
