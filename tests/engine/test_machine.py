"""Whatever comes, in whatever order: every invariant holds, a replay and a snapshot are the same, and it ends."""

import os

import msgspec
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from msgspec import to_builtins

from ensemble.model.decisions import Call
from ensemble.model.events import RunResumed
from tests.engine import machine

EXAMPLES = int(os.environ.get("ENSEMBLE_ENGINE_EXAMPLES", "100"))
"""More by hand: `ENSEMBLE_ENGINE_EXAMPLES=5000 pytest tests/engine/test_machine.py`."""


class Life(RuleBasedStateMachine):
    """One ensemble and all that may happen to it. A twin, made from a snapshot, gets the same events."""

    @initialize(spec=machine.specs())
    def begin(self, spec):
        self.names = [group.name for group in spec.jobs]
        self.world = machine.Universe(spec)
        self.twin = None
        self.since = 0

    def pick(self, data, of):
        return data.draw(st.sampled_from(sorted(of)))

    @property
    def over(self):
        return self.world.engine.ended is not None

    def is_open(self):
        return bool(self.world.held) and not self.over

    # ---- members -----------------------------------------------------------------------------------

    @rule(member=st.sampled_from(["m", "o"]), nodes=st.integers(0, 3), resize=st.booleans())
    def opens(self, member, nodes, resize):
        self.world.open(member, nodes, resize and member == "m")

    @rule(member=st.sampled_from(["m", "o"]), name=st.sampled_from(["up", "down", "fault"]))
    def reachable(self, member, name):
        self.world.tell(machine.MemberEvent(member, name, self.world.at))

    @rule(member=st.sampled_from(["m", "o"]), nodes=st.integers(0, 4), waiting=st.integers(0, 9))
    def sizes(self, member, nodes, waiting):
        self.world.tell(
            machine.MemberEvent(
                member, "nodes", self.world.at, nodes_up=nodes, cores_up=4 * nodes, queue={"sched": waiting}
            )
        )

    @rule(member=st.sampled_from(["m", "o"]), chance=st.integers(0, 9))
    def is_given_up(self, member, chance):
        if chance == 0:
            self.world.gone(member)

    @precondition(is_open)
    @rule(data=st.data(), sent=st.booleans())
    def inventory(self, data, sent):
        """Some are proven gone, or never to have arrived."""
        ref = self.pick(data, self.world.held)
        member = self.world.held.pop(ref)[0]
        fields = {"gone": (ref,)} if sent else {"unsent": (ref,)}
        self.world.tell(machine.MemberEvent(member, "inventory", self.world.at, **fields))

    # ---- commands ----------------------------------------------------------------------------------

    @precondition(lambda self: self.world.commands)
    @rule(
        data=st.data(),
        kind=st.sampled_from(["ok", "ok", "later", "refused", "unknown"]),
        refs=st.sets(st.integers(0, 3)),
    )
    def answers(self, data, kind, refs):
        place = data.draw(st.integers(0, len(self.world.commands) - 1))
        command = self.world.answer(place, kind, refs)
        if isinstance(command, Call):
            self.answers_call(data, command)

    def answers_call(self, data, command):
        fault = data.draw(st.sampled_from(["", "", "raised", "hung"]))
        results = data.draw(
            st.lists(
                st.one_of(
                    machine.action(self.names, plain=True).map(to_builtins),
                    machine.rule(self.names, (), plain=True).map(to_builtins),
                ),
                max_size=2,
            )
        )
        self.world.returned(command, results, fault)
        if data.draw(st.booleans()):
            self.world.returned(command, results, fault)

    @rule(number=st.integers(0, 5))
    def answers_nobody(self, number):
        self.world.tell(machine.SubmitAnswered(900 + number, "m"))
        self.world.tell(machine.ResizeDone(900 + number, "m", 2))
        self.world.tell(machine.FunctionReturned(900 + number))

    # ---- jobs --------------------------------------------------------------------------------------

    @precondition(is_open)
    @rule(
        data=st.data(),
        state=st.sampled_from(["new", "depend", "sched", "run", "run", "cleanup"]),
        incarnation=st.integers(0, 6),
        hosts=st.sampled_from(["", "n1,n2"]),
    )
    def moves(self, data, state, incarnation, hosts):
        ref = self.pick(data, self.world.held)
        self.world.job(ref, state, incarnation=1 if incarnation == 6 else 0, hosts=hosts)

    @precondition(is_open)
    @rule(
        data=st.data(),
        outcome=st.sampled_from(["success", "success", "failed", "cancelled", "lost"]),
        reason=st.sampled_from(["exit", "signal", "infrastructure", "duplicate"]),
        figures=st.sampled_from([None, {"x": 2.0}, {"x": 0.5}, {"x": float("inf"), "y": 1.0}, {"x": float("nan")}]),
        began=st.floats(0, 3),
        code=st.sampled_from([-1, 0]),
        incarnation=st.sampled_from([0, 0, 1, 2]),
    )
    def ends(self, data, outcome, reason, figures, began, code, incarnation):
        ref = self.pick(data, self.world.held)
        if outcome == "success":
            reason, code = "", 0
        if reason == "duplicate":
            self.world.job(ref, "inactive", outcome=outcome, reason=reason)
            return
        start = self.world.at - began if outcome == "success" else 0.0
        missing = () if figures else ("x",)
        self.world.end(
            ref,
            outcome,
            reason=reason,
            exit_code=code,
            figures=figures,
            start=start,
            missing=missing,
            incarnation=incarnation,
        )

    @precondition(lambda self: self.world.ends)
    @rule(data=st.data(), n=st.booleans())
    def is_told_again(self, data, n):
        """A repeated, late or stale event: by the stream, or with a number of its own."""
        event = self.world.ends[data.draw(st.integers(0, len(self.world.ends) - 1))]
        # a limit that was reached meanwhile may cancel others with this event; succeed can none
        total = self.world.engine.state.total
        succeeded = total.success
        # in a new stream an old number would not be a repetition
        known = n and event.n <= self.world.engine.view.position(event.member)[1]
        self.world.tell(event if known else msgspec.structs.replace(event, n=0))
        assert total.success == succeeded

    @rule(key=st.sampled_from(["a-0", "b-1", "zz-0", "nonsense", "a--1", "a-99"]), attempt=st.integers(1, 3))
    def comes_out_of_nowhere(self, key, attempt):
        self.world.tell(machine.JobEvent("m", key, "sched", 1.0, attempt=attempt + 50))

    @precondition(is_open)
    @rule(data=st.data(), name=st.sampled_from(["exception", "alloc"]))
    def native(self, data, name):
        self.world.native(self.pick(data, self.world.held), name)

    # ---- time and people ---------------------------------------------------------------------------

    @rule(seconds=st.sampled_from([0.0, 0.5, 3.0, 10.0, 60.0]), heartbeat=st.booleans())
    def time_passes(self, seconds, heartbeat):
        self.world.tick(seconds, heartbeat)

    @rule(data=st.data())
    def adds_rule(self, data):
        made = data.draw(machine.rule(self.names, (machine.AXIS,), plain=True))
        self.world.request("add-rule", action=to_builtins(msgspec.structs.replace(made, id="mine")))

    @rule(data=st.data())
    def asks(self, data):
        self.world.request("action", action=to_builtins(data.draw(machine.action(self.names))))

    @rule(keys=st.lists(st.sampled_from(["a-0", "a-1", "b-0", "b-3", "c-2", "q"]), unique=True, max_size=4))
    def cancels(self, keys):
        self.world.request("cancel-jobs", keys=tuple(keys))

    @rule(what=st.sampled_from(["drain", "cancel", "terminate", "sing"]), chance=st.integers(0, 9))
    def wants_it_over(self, what, chance):
        if chance == 0:
            self.world.request(what)

    @rule(chance=st.integers(0, 4))
    def pauses_or_goes_on(self, chance):
        if chance == 0:
            self.world.request("pause")
        elif chance == 1:
            self.world.tell(RunResumed(2, "0"))

    # ---- replays and snapshots ---------------------------------------------------------------------

    @precondition(lambda self: self.twin is None)
    @rule()
    def is_snapshot(self):
        self.twin = self.world.restored()
        self.since = len(self.world.records)

    @precondition(lambda self: self.twin is not None)
    @rule()
    def decides_the_same_after_a_snapshot(self):
        self.compare()
        self.twin = None

    def compare(self):
        for record in self.world.records[self.since :]:
            assert machine.as_read(self.twin.handle(record.event, record.at)) == record
        assert machine.plain(self.twin) == machine.plain(self.world.engine)

    @rule()
    def is_replayed(self):
        self.world.engine.status()
        self.world.engine.explain()
        self.world.refold()

    def teardown(self):
        if not hasattr(self, "world"):
            return
        self.world.finish()
        self.world.refold()
        self.world.restored()
        if self.twin is not None:
            self.compare()
        total = self.world.engine.status().total
        assert total.submitted == total.success + total.failed + total.cancelled + total.lost


TestLife = Life.TestCase
TestLife.settings = settings(
    max_examples=EXAMPLES,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    report_multiple_bugs=False,
)
