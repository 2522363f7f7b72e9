"""What is said to happen never does not: small ensembles at random, simulated to their end."""

from hypothesis import given, settings
from hypothesis import strategies as st

from ensemble.model.decisions import Firing, Upkeep
from ensemble.model.placement import Size
from ensemble.simulation import simulate
from ensemble.spec.check import check
from ensemble.spec.loader import from_plain

GROUPS = ("a", "b", "c")
HELD = ("submitted", "pending", "running", "active", "finished", "success", "failed")

PATHS = st.one_of(
    st.tuples(st.sampled_from([*GROUPS, "*"]), st.sampled_from(HELD)).map(lambda p: f"count.{p[0]}.{p[1]}"),
    st.tuples(st.sampled_from(["mean", "max", "std", "count"]), st.sampled_from(GROUPS)).map(
        lambda p: f"{p[0]}.{p[1]}.duration"
    ),
)
ATOMS = st.tuples(PATHS, st.sampled_from(["<", "<=", ">", ">=", "==", "!="]), st.integers(-1, 7)).map(
    lambda p: f"{p[0]} {p[1]} {p[2]}"
)
CONDITIONS = st.one_of(
    ATOMS,
    st.tuples(ATOMS, st.sampled_from(["and", "or"]), ATOMS).map(" ".join),
    ATOMS.map(lambda atom: f"not ({atom})"),
)
ACTIONS = st.one_of(
    st.fixed_dictionaries(
        {"name": st.just("submit"), "label": st.sampled_from(GROUPS), "repetitions": st.integers(1, 2)},
        optional={"value": st.integers(1, 3), "backoff": st.integers(0, 3)},
    ),
    st.fixed_dictionaries({"name": st.just("cancel"), "label": st.sampled_from(GROUPS)}),
)
RULES = st.one_of(
    st.fixed_dictionaries({"trigger": st.sampled_from(["start", "idle"]), "action": ACTIONS}),
    st.fixed_dictionaries({"trigger": st.just("metric"), "when": CONDITIONS, "action": ACTIONS}),
    st.fixed_dictionaries(
        {"trigger": st.sampled_from(["job-success", "job-fail", "job-finish", "job-run"]), "action": ACTIONS},
        optional={"name": st.sampled_from(GROUPS), "when": CONDITIONS},
    ),
)


def group(name):
    return st.fixed_dictionaries(
        {
            "name": st.just(name),
            "command": st.sampled_from(["true", "false"]),
            "count": st.integers(1, 3),
            "submit": st.sampled_from(["auto", "start", "rules"]),
            "nodes": st.integers(1, 3),
            "simulate": st.just({"duration": 2}),
        },
        optional={"parameters": st.just({"x": [1, 2]})},
    )


FILES = st.fixed_dictionaries(
    {
        "jobs": st.tuples(*(group(name) for name in GROUPS)).map(list),
        "rules": st.lists(RULES, max_size=5),
        "members": st.just({"local": {"nodes": 2, "cores": 2}}),
    },
    optional={"limits": st.fixed_dictionaries({"jobs": st.integers(1, 9)})},
)


@settings(max_examples=250, deadline=None)
@given(FILES)
def test_what_is_said_never_to_happen_does_not(data):
    spec = from_plain(data)
    found = check(spec, {"local": Size(2, 2)})
    records = []
    simulate(spec, observers=[records.append])
    steps = [step for record in records for step in record.steps]
    fired = {step.rule for step in steps if isinstance(step, Firing)}
    effects = [effect for step in steps if isinstance(step, Firing | Upkeep) for effect in step.effects]
    made = {effect.span.group for effect in effects if type(effect).__name__ == "Create"}
    sent = {span.group for effect in effects if type(effect).__name__ == "Submit" for span in effect.spans}
    for one in found:
        if one.code == "never-fires":
            place = int(one.where[len("rules[") :].partition("]")[0])
            assert f"rule-{place + 1}" not in fired, one
        elif one.code == "never-submitted":
            place = int(one.where[len("jobs[") :].partition("]")[0])
            assert spec.jobs[place].name not in made, one
        elif one.code == "never-fits":
            place = int(one.where[len("jobs[") :].partition("]")[0])
            assert spec.jobs[place].name not in sent, one
            assert one.error or spec.jobs[place].name not in made, one
        elif one.code == "nothing-runs":
            assert not made
    assert sent <= made
