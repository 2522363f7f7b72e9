"""What a run was built from stays as it is; all that changes is in the state."""

import pytest

from ensemble.report.text import closing
from tests.engine.world import World

FILE = """
jobs: [{name: a, command: "x {T}", parameters: {T: [1, 2]}, valid: "duration < 9", submit: start}]
rules:
  - {trigger: job-success, name: a, for_each: T, action: {name: submit, label: a, parameters: {T: [3]}}}
  - {trigger: job-success, name: a, action: {name: add-rule, rule: {trigger: idle, action: {name: stop}}}}
"""


def test_the_plan_cannot_be_changed_and_outlives_what_happens():
    world = World(FILE)
    plan = world.engine._builder.plan
    before = (plan.spec, {name: list(entries) for name, entries in plan.templates.items()}, plan.starting)
    world.all_good()
    assert (plan.spec, dict(plan.templates), plan.starting) == before
    assert world.engine.state.added
    with pytest.raises(AttributeError):
        plan.spec = None
    with pytest.raises(TypeError):
        plan.templates["b"] = []


def test_the_builder_has_nothing_of_its_own_to_remember():
    builder = World(FILE).engine._builder
    assert set(type(builder).__slots__) == {"plan", "state", "resolver"}


def test_the_word_that_a_file_has_for_a_group_stands_in_its_table():
    world = World(FILE.replace("name: a, command", "name: a, label: melting points, command"))
    assert "a [T=1] (melting points)" in closing(world.engine.status(), [])
