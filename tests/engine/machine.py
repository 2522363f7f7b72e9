"""Ensembles at random, and everything that can happen to one: what the stateful test of the engine draws from.

`Universe` is the world outside the engine: it holds what members were given, and can tell it truly, twice, late,
out of order, or wrongly. All of it is by choice of the caller, so that a test can be shrunk.
"""

import json

import msgspec
from hypothesis import strategies as st
from msgspec import to_builtins

from ensemble.algorithms import BUILTIN
from ensemble.engine import Engine, Submission
from ensemble.model.decisions import Call, Cancel, Record, Resize
from ensemble.model.events import (
    FunctionReturned,
    JobEvent,
    MemberEvent,
    NativeEvent,
    Requested,
    ResizeDone,
    RunResumed,
    RunStarted,
    SubmitAnswered,
    TimerFired,
)
from ensemble.spec.model import (
    ActionSpec,
    AlgorithmSpec,
    EnsembleSpec,
    GroupSpec,
    LimitsSpec,
    MemberSpec,
    OutputRule,
    RetrySpec,
    RuleSpec,
)

NAMES = ("a", "b", "c")
AXIS = "T"

_METRICS = (
    "count.{g}.success",
    "count.{g}.failed",
    "count.{g}.active",
    "count.{g}.pending",
    "mean.{g}.duration",
    "p95.{g}.duration",
    "max.{g}.x",
    "mean.{g}.pending",
    "nodes.m.up",
    "count.*.finished",
)


def groups():
    return st.lists(_group(), min_size=1, max_size=3, unique_by=lambda group: group.name)


@st.composite
def _group(draw):
    axes = draw(st.sampled_from([(), (AXIS,), (AXIS, "N")]))
    values = [{}]
    for axis in axes:
        some = draw(st.lists(st.integers(0, 4), min_size=1, max_size=3, unique=True))
        values = [{**point, axis: value} for point in values for value in some]
    return GroupSpec(
        name=draw(st.sampled_from(NAMES)),
        command="x " + " ".join("{" + axis + "}" for axis in axes),
        count=draw(st.integers(1, 4)),
        points=tuple(values),
        axes=axes,
        parameters={axis: [] for axis in axes},
        submit=draw(st.sampled_from(["start", "start", "auto", "rules"])),
        member=draw(st.sampled_from(["", "", "m", "o"])),
        tasks=draw(st.sampled_from([1, 1, 4, 9, 40])),
        nodes=draw(st.sampled_from([0, 0, 1, 3])),
        walltime=draw(st.sampled_from([0.0, 60.0, 3600.0])),
        outputs={"x": OutputRule(pattern="(.)", required=draw(st.booleans()))},
        valid=draw(st.sampled_from(["", "", "x > 1", "duration < 5"])),
        retries=RetrySpec(
            limit=draw(st.integers(0, 2)),
            delay=draw(st.sampled_from([0.0, 0.0, 3.0])),
            elsewhere=draw(st.booleans()),
            reasons=draw(st.sampled_from([(), ("signal",)])),
        ),
        max_running=draw(st.sampled_from([0, 0, 1, 2])),
        order=draw(st.sampled_from(["listed", "random", "blocked"])),
        warmup=draw(st.sampled_from([0, 0, 1])),
        derived=draw(st.sampled_from([{}, {"rate": "count.{g}.success / mean.{g}.duration"}])),
    )


@st.composite
def rule(draw, names, axes, plain=False):
    trigger = draw(
        st.sampled_from(
            ["metric"] * 5
            + ["job-finish", "job-success", "job-fail", "job-run", "job-retry", "job-cancel", "job-native-exception"]
            + ["start", "interval", "idle", "member-nodes", "member-open"]
        )
    )
    name = draw(st.sampled_from(["", *names])) if trigger.startswith("job-") else ""
    when = None
    if trigger == "metric" or draw(st.integers(0, 3)) == 0:
        when = draw(_condition(names))
    return RuleSpec(
        trigger=trigger,
        name=name,
        when=when,
        seconds=draw(st.sampled_from([1.0, 7.5])) if trigger == "interval" else 0.0,
        for_each=AXIS if AXIS in axes and draw(st.booleans()) else "",
        action=draw(action(names, plain)),
    )


@st.composite
def _condition(draw, names):
    path = draw(st.sampled_from(_METRICS)).format(g=draw(st.sampled_from(names)))
    one = f"{path} {draw(st.sampled_from(['>', '>=', '<', '<=', '==', '!=']))} {draw(st.integers(0, 5))}"
    if draw(st.integers(0, 3)):
        return one
    other = draw(st.sampled_from(_METRICS)).format(g=draw(st.sampled_from(names)))
    return f"{one} {draw(st.sampled_from(['and', 'or']))} not {other} > {draw(st.integers(0, 3))} / {other}"


@st.composite
def action(draw, names, plain=False):
    kinds = ["submit"] * 4 + ["cancel", "grow", "shrink", "scale", "avoid", "custom"]
    if not plain:
        kinds += ["add-rule", "switch-algorithm", "stop", "terminate", "stop-member"]
    name = draw(st.sampled_from(kinds))
    fields = {
        "repetitions": draw(st.sampled_from([1, 1, 2, 5, -1])),
        "backoff": draw(st.sampled_from([0, 0, 2])),
        "cooldown": draw(st.sampled_from([0.0, 0.0, 4.0])),
    }
    if name == "submit":
        fields["label"] = draw(st.sampled_from(names))
        fields["value"] = draw(st.sampled_from([None, 1, 2]))
        if draw(st.integers(0, 3)) == 0:
            axes = draw(st.sampled_from([(), (AXIS,), (AXIS, "N")]))
            fields["points"] = tuple(
                {axis: draw(st.integers(0, 6)) for axis in axes} for _ in range(draw(st.integers(1, 2)))
            )
    elif name == "cancel":
        fields["label"] = draw(st.sampled_from(["", *names]))
        fields["states"] = draw(st.sampled_from([(), ("pending",), ("run",), ("new",)]))
    elif name in ("grow", "shrink", "scale"):
        fields["value"] = draw(st.sampled_from([None, 1, 2, 3]))
        fields["member"] = draw(st.sampled_from(["", "m", "o"]))
    elif name == "avoid":
        fields["host"] = draw(st.sampled_from(["", "n1"]))
    elif name == "custom":
        fields["label"] = "f"
    elif name == "add-rule":
        fields["rule"] = to_builtins(draw(rule(names, (), plain=True)))
    elif name == "switch-algorithm":
        fields["label"] = draw(st.sampled_from(sorted(BUILTIN)))
    elif name == "stop-member":
        fields["member"] = draw(st.sampled_from(["m", "o"]))
    return ActionSpec(name=name, **fields)


@st.composite
def specs(draw):
    made = draw(groups())
    made = [
        msgspec.structs.replace(
            group, derived={name: text.format(g=group.name) for name, text in group.derived.items()}
        )
        for group in made
    ]
    names = [group.name for group in made]
    axes = {axis for group in made for axis in group.axes}
    top = draw(st.sampled_from([0, 0, 4]))
    return EnsembleSpec(
        seed=draw(st.integers(0, 3)),
        members={
            "m": MemberSpec(nodes=1, max_nodes=top, price=draw(st.sampled_from([0.0, 2.0]))),
            "o": MemberSpec(nodes=2, price=draw(st.sampled_from([0.0, 1.0]))),
        },
        jobs=tuple(made),
        rules=tuple(draw(st.lists(rule(names, axes), max_size=6))),
        algorithm=draw(st.sampled_from([None, None, None, *(AlgorithmSpec(name=name) for name in sorted(BUILTIN))])),
        limits=LimitsSpec(
            jobs=draw(st.sampled_from([40, 60])),
            failures=draw(st.sampled_from([0, 0, 3])),
            walltime=draw(st.sampled_from([0.0, 0.0, 50.0])),
            node_hours=draw(st.sampled_from([0.0, 0.0, 3.0])),
            cost=draw(st.sampled_from([0.0, 0.0, 4.0])),
            on_limit=draw(st.sampled_from(["drain", "cancel"])),
        ),
    )


class Universe:
    """Members, functions and people around one engine."""

    def __init__(self, spec):
        self.spec = spec
        self.engine = Engine(spec, run="r", algorithms=BUILTIN)
        self.at = 1000.0
        self.records = []
        self.n = {"m": 0, "o": 0}
        self.streams = {"m": 0, "o": 0}
        self.held = {}
        """(key, attempt): [member, state], of everything sent that has not ended."""
        self.ends = []
        """Events of ends that were told, to be told again."""
        self.commands = []
        """Commands to be answered."""
        self.tell(RunStarted("r", {}, "0", spec.seed, "/run"))

    # ---- to the engine -----------------------------------------------------------------------------

    def tell(self, event, after=0.25):
        self.at += after
        record = self.engine.handle(event, self.at)
        self.engine.check()
        # a record is what its JSON says: that is all a resumed run will have
        self.records.append(as_read(record))
        for command in self.engine.commands(record):
            self._take(command)
        return record

    def _take(self, command):
        if isinstance(command, Submission):
            for ref in command.refs():
                assert ref not in self.held, "sent twice"
                self.held[ref] = [command.member, "submitted"]
            self.commands.append(command)
        elif isinstance(command, Resize | Call):
            self.commands.append(command)
        elif isinstance(command, Cancel):
            for ref in command.refs:
                if ref in self.held:
                    self.held[ref].append("cancelled")

    def job(self, ref, state, repeat=False, **fields):
        member = self.held[ref][0]
        if state != "new":
            self.held[ref][1] = state
        if not repeat:
            self.n[member] += 1
        return self.tell(JobEvent(member, ref[0], state, fields.pop("time", self.at), self.n[member], ref[1], **fields))

    def open(self, member, nodes=1, resize=True):
        self.streams[member] += 1
        self.n[member] = 0
        self.tell(
            MemberEvent(
                member,
                "open",
                self.at,
                stream=f"{member}.{self.streams[member]}",
                nodes_up=nodes,
                nodes_free=nodes,
                cores_up=4 * nodes,
                cores_free=4 * nodes,
                cores_per_node=4,
                gpus_up=0,
                capabilities=("resize",) if resize else (),
            )
        )

    def end(self, ref, outcome, **fields):
        member, _, *asked = self.held.pop(ref)
        self.n[member] += 1
        # a member always knows which of its restarts it speaks of
        incarnation = max(fields.pop("incarnation", 0), self.engine.state.jobs[ref[0]].incarnation)
        if asked:
            outcome, fields = "cancelled", {"reason": "cancelled"}
        event = JobEvent(member, ref[0], "inactive", self.at, self.n[member], ref[1], incarnation, outcome, **fields)
        self.ends.append(event)
        self.tell(event)

    def answer(self, place, kind, refs=()):
        command = self.commands.pop(place)
        if isinstance(command, Submission):
            mine = [ref for ref in command.refs() if self.held.get(ref, ("", ""))[1] == "submitted"]
            mine = [ref for index, ref in enumerate(mine) if index in refs] if refs else mine
            refused = unknown = ()
            if kind in ("later", "refused"):
                refused = tuple((key, attempt, "no", kind == "later") for key, attempt in mine)
                for ref in mine:
                    del self.held[ref]
            elif kind == "unknown":
                unknown = tuple(mine)
            self.tell(SubmitAnswered(command.id, command.member, refused, unknown))
        elif isinstance(command, Resize):
            if kind == "refused":
                self.tell(ResizeDone(command.id, command.member, error="no room"))
            else:
                self.tell(MemberEvent(command.member, "nodes", self.at, nodes_up=command.nodes))
                self.tell(ResizeDone(command.id, command.member, command.nodes))
        return command

    def returned(self, command, results, fault=""):
        self.tell(FunctionReturned(command.id, tuple(results), error="it broke" if fault else "", fault=fault))

    def gone(self, member):
        for ref in [ref for ref, held in self.held.items() if held[0] == member]:
            del self.held[ref]
        self.commands = [one for one in self.commands if isinstance(one, Call) or one.member != member]
        self.tell(MemberEvent(member, "gone", self.at))

    def native(self, ref, name):
        self.n[self.held[ref][0]] += 1
        self.tell(NativeEvent(self.held[ref][0], ref[0], name, self.at, self.n[self.held[ref][0]], ref[1]))

    def request(self, what, **fields):
        self.tell(Requested(what, "me", **fields))

    def tick(self, seconds, heartbeat=False):
        self.tell(TimerFired(heartbeat), seconds)

    # ---- promises ----------------------------------------------------------------------------------

    def finish(self):
        """Let everything come to its end, as it would if nothing more went wrong. Whatever happened before, it must."""
        for member in ("m", "o"):
            known = self.engine.state.members[member]
            if known.state in ("new", "down") or not known.opened or known.nodes_up <= 0:
                self.open(member, 2)
        if self.engine.state.paused:
            self.tell(RunResumed(2, "0"))
        for turn in range(3000):
            if self.engine.ended is not None:
                return
            if turn == 400:
                # rules without a bound, such as an idle one that calls a function for ever, end when told to
                self.request("drain")
                continue
            if self.commands:
                command = self.answer(0, "ok")
                if isinstance(command, Call):
                    self.returned(command, ())
            elif self.held:
                self.end(next(iter(self.held)), "success", exit_code=0, start=self.at - 1, figures={"x": 2.0})
            else:
                wanted = self.engine.wakeup()
                empty = [m.name for m in self.engine.state.members.values() if m.state == "up" and m.nodes_up <= 0]
                if wanted is None and empty:
                    self.tell(MemberEvent(empty[0], "nodes", self.at, nodes_up=9, cores_up=36, cores_per_node=4))
                    continue
                assert wanted is not None, self.stuck()
                self.tick(max(0.0, wanted - self.at))
        raise AssertionError("no end: " + self.stuck())

    def stuck(self):
        state = self.engine.state
        waiting = {name: list(group.backlog) for name, group in state.groups.items() if group.backlog}
        jobs = {job.key: (job.code, job.member) for job in state.jobs.values()}
        return f"waiting {waiting}, jobs {jobs}, commands {state.commands}, timers {state.timers}"

    def refold(self):
        """What a replay of the records comes to is the same state, to the byte."""
        again = Engine(self.spec, run="r", algorithms=BUILTIN)
        for record in self.records:
            again.apply(record)
        again.check()
        assert plain(again) == plain(self.engine)
        return again

    def restored(self):
        """An engine made from the snapshot, as a resumed run has it."""
        text = plain(self.engine)
        other = Engine.restore(self.spec, json.loads(text), BUILTIN)
        other.check()
        assert plain(other) == text
        assert other.status() == self.engine.status()
        assert other.explain() == self.engine.explain()
        return other


def as_read(record):
    """The record as a journal gives it back."""
    return msgspec.json.decode(msgspec.json.encode(record), type=Record)


def plain(engine):
    return json.dumps(engine.snapshot(), allow_nan=False)
