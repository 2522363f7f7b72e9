"""The algorithms end to end: the real engine and a member of a few lines, in virtual time."""

from collections import Counter
from heapq import heappop, heappush

import pytest
from msgspec import to_builtins

from ensemble.algorithms import BUILTIN
from ensemble.engine import Engine, Submission
from ensemble.model.decisions import Resize
from ensemble.model.events import JobEvent, MemberEvent, ResizeDone, RunStarted, SubmitAnswered, TimerFired
from ensemble.spec.model import AlgorithmSpec, EnsembleSpec, GroupSpec, MemberSpec


class Loop:
    """One core a job, first come, first served. `takes(group, number)` gives (seconds, good)."""

    def __init__(self, spec, takes, nodes=2, resizable=False):
        self.engine = Engine(spec, run="r-1", algorithms=BUILTIN)
        self.takes = takes
        self.now = 1000.0
        self.free = dict.fromkeys(spec.members, nodes)
        self.nodes = dict.fromkeys(spec.members, nodes)
        self.n = dict.fromkeys(spec.members, 0)
        self.queues = {name: [] for name in spec.members}
        self.ends = []
        self.order = []
        self.records = []
        self.resizes = []
        self.tell(RunStarted("r-1", to_builtins(spec), "0"))
        for name in spec.members:
            sizes = {
                "nodes_up": nodes,
                "nodes_free": nodes,
                "cores_up": nodes,
                "cores_free": nodes,
                "cores_per_node": 1,
            }
            capabilities = ("exactly-once", "resize") if resizable else ("exactly-once",)
            self.tell(MemberEvent(name, "open", self.now, 0, "s1", capabilities=capabilities, **sizes))

    def tell(self, event):
        record = self.engine.handle(event, self.now)
        self.records.append(record)
        for command in self.engine.commands(record):
            if isinstance(command, Submission):
                jobs = command.jobs()
                self.order += [job.group for job in jobs]
                self.queues[command.member] += [(job.group, job.ref.key, job.ref.attempt) for job in jobs]
                self.tell(SubmitAnswered(command.id, command.member))
            elif isinstance(command, Resize):
                self.resizes.append(command.nodes)
                self.free[command.member] += command.nodes - self.nodes[command.member]
                self.nodes[command.member] = command.nodes
                self.sizes(command.member)
                self.tell(ResizeDone(command.id, command.member, command.nodes))

    def sizes(self, name):
        self.n[name] += 1
        up, free = self.nodes[name], max(0, self.free[name])
        sizes = {"nodes_up": up, "nodes_free": free, "cores_up": up, "cores_free": free, "cores_per_node": 1}
        self.tell(MemberEvent(name, "nodes", self.now, self.n[name], **sizes))

    def state(self, name, key, attempt, state, **more):
        self.n[name] += 1
        self.tell(JobEvent(name, key, state, self.now, self.n[name], attempt, **more))

    def run(self):
        for _ in range(20_000):
            if self.engine.ended is not None:
                return self
            for name, queue in self.queues.items():
                while queue and self.free[name] > 0:
                    group, key, attempt = queue.pop(0)
                    self.free[name] -= 1
                    seconds, good = self.takes(group, int(key.rpartition("-")[2]))
                    heappush(self.ends, (self.now + seconds, key, attempt, name, good))
                    self.state(name, key, attempt, "run")
            wakeup = self.engine.wakeup()
            if self.ends and (wakeup is None or self.ends[0][0] <= wakeup):
                self.now, key, attempt, name, good = heappop(self.ends)
                self.free[name] += 1
                outcome = (
                    {"outcome": "success", "exit_code": 0}
                    if good
                    else {"outcome": "failed", "reason": "exit", "exit_code": 1}
                )
                self.state(name, key, attempt, "inactive", **outcome)
                self.sizes(name)
            elif wakeup is not None:
                self.now = max(self.now, wakeup)
                self.tell(TimerFired())
            else:
                raise AssertionError("nothing will ever happen again, and the ensemble has not ended")
        raise AssertionError("it goes on for ever")


def spec_of(name, options, groups, members=("local",), **member):
    made = {each: MemberSpec(**member) for each in members}
    return EnsembleSpec(members=made, jobs=tuple(groups), algorithm=AlgorithmSpec(name=name, options=options), seed=7)


def group(name, count=1, **more):
    return GroupSpec(name=name, command="true", count=count, **more)


def test_workload_demand_runs_everything_and_grows_the_member():
    groups = [group("a", 30), group("b", 30)]
    spec = spec_of("workload-demand", {"scaleChecks": 2, "checkSeconds": 1}, groups, nodes=2, max_nodes=6)
    loop = Loop(spec, lambda name, number: (5.0, True), resizable=True).run()
    assert Counter(loop.order) == {"a": 30, "b": 30}
    assert loop.resizes
    assert max(loop.resizes) <= 6


def test_random_selection_runs_as_many_as_asked_for():
    loop = Loop(
        spec_of("random-selection", {"count": 25}, [group("a", 30), group("b", 30)]), lambda *_: (1.0, True)
    ).run()
    assert len(loop.order) == 25
    assert set(loop.order) == {"a", "b"}


def test_workload_success_gets_each_group_its_successes():
    spec = spec_of("workload-success", {"successes": 20}, [group("a"), group("b")])
    loop = Loop(spec, lambda name, number: (1.0, number % 3 != 0)).run()
    good = [
        record.event.key[0]
        for record in loop.records
        if isinstance(record.event, JobEvent) and record.event.outcome == "success"
    ]
    assert Counter(good) == {"a": 20, "b": 20}


@pytest.mark.parametrize(("which", "last"), [("select-fastest-runtime", "slow"), ("select-longest-runtime", "quick")])
def test_runtime_selection_leaves_the_least_wanted_for_the_end(which, last):
    seconds = {"slow": 9.0, "quick": 1.0}
    spec = spec_of(which, {"minimum": 2}, [group("slow", 15), group("quick", 15)])
    loop = Loop(spec, lambda name, number: (seconds[name], True), nodes=1).run()
    assert Counter(loop.order) == {"slow": 15, "quick": 15}
    assert set(loop.order[-8:]) == {last}


def test_cost_selection_goes_where_a_result_is_cheap():
    groups = [group("here", 20, member="cheap"), group("there", 20, member="dear")]
    spec = EnsembleSpec(
        members={"cheap": MemberSpec(price=1.0), "dear": MemberSpec(price=5.0)},
        jobs=tuple(groups),
        algorithm=AlgorithmSpec(name="cost-selection"),
    )
    loop = Loop(spec, lambda name, number: ({"here": 10.0, "there": 4.0}[name], True), nodes=4).run()
    assert Counter(loop.order) == {"here": 17, "there": 3}


def test_the_same_events_give_the_same_records():
    spec = spec_of("random-selection", {"count": 25, "atOnce": 3}, [group("a", 30), group("b", 30)])
    one, other = (Loop(spec, lambda *_: (1.0, True)).run() for _ in range(2))
    assert one.records == other.records
