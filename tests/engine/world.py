"""A world of a few lines for the engine to live in: events by hand, every invariant checked after each."""

import json

from msgspec import to_builtins

from ensemble.algorithms import BUILTIN
from ensemble.engine import Engine, Submission
from ensemble.model.decisions import Call, Cancel, Resize
from ensemble.model.events import JobEvent, MemberEvent, RunStarted, SubmitAnswered, TimerFired
from ensemble.spec.loader import loads


def steps(records, kind="", /, **fields):
    """The steps of one or more records that are of a kind (`fired`, `held`, `upkeep`) and have these fields."""
    records = records if isinstance(records, list) else [records]
    return [step for record in records for step in record.steps if _matches(step, kind, fields)]


def effects(records, kind="", /, **fields):
    """The effects of one or more records that are of a kind (`create`, `note`, ...) and have these fields."""
    found = [effect for step in steps(records) for effect in getattr(step, "effects", ())]
    return [effect for effect in found if _matches(effect, kind, fields)]


def notes(world, name):
    """The texts of all notes of a name."""
    return [note.text for note in effects(world.records, "note", name=name)]


def submissions(commands):
    """The submissions among commands that are complete."""
    return [command for command in commands if isinstance(command, Submission)]


def _matches(one, kind, fields):
    tag = one.__struct_config__.tag
    return kind in ("", tag) and all(getattr(one, name, None) == value for name, value in fields.items())


class World:
    """Feeds an engine. `open` is what its member holds: (key, attempt) to state."""

    def __init__(self, text, *, cores=4, start=True, members=("local",)):
        self.spec = loads(text, directory="/study")
        self.engine = Engine(self.spec, run="r-1", algorithms=BUILTIN)
        self.at = 100.0
        self.n = dict.fromkeys(self.spec.members or members, 0)
        self.records = []
        self.open = {}
        self.where = {}
        self.calls = []
        self.resizes = []
        self.cancels = []
        self.answers = True
        """Whether submissions are answered."""
        if start:
            self.begin(cores)

    def begin(self, cores=4):
        self.tell(RunStarted("r-1", to_builtins(self.spec), "0", self.spec.seed, "/run"))
        for name in self.n:
            self.tell(
                MemberEvent(
                    name,
                    "open",
                    stream=f"{name}-1",
                    nodes_up=1,
                    nodes_free=1,
                    cores_up=cores,
                    cores_free=cores,
                    cores_per_node=cores,
                    capabilities=("resize",),
                )
            )

    def tell(self, event, after=0.0):
        self.at += after
        record = self.engine.handle(event, self.at)
        self.engine.check()
        self.records.append(record)
        for command in self.engine.commands(record):
            if isinstance(command, Submission):
                for key, attempt in command.refs():
                    self.open[key] = [attempt, "submitted"]
                    self.where[key] = command.member
                if self.answers:
                    self.tell(SubmitAnswered(command.id, command.member))
            elif isinstance(command, Cancel):
                self.cancels.append(command)
            elif isinstance(command, Call):
                self.calls.append(command)
            elif isinstance(command, Resize):
                self.resizes.append(command)
        return record

    def job(self, key, state, after=0.0, **fields):
        self.at += after
        member = self.where[key]
        self.n[member] += 1
        attempt = fields.pop("attempt", self.open[key][0])
        record = self.tell(JobEvent(member, key, state, fields.pop("time", self.at), self.n[member], attempt, **fields))
        if state == "inactive" and self.open.get(key, [0])[0] == attempt:
            del self.open[key]
        return record

    def run(self, key):
        self.open[key][1] = "run"
        return self.job(key, "run")

    def good(self, key, seconds=1.0, **fields):
        if self.open[key][1] == "submitted":
            self.job(key, "run")
        return self.job(key, "inactive", seconds, outcome="success", exit_code=0, **fields)

    def bad(self, key, seconds=1.0, reason="exit", **fields):
        self.job(key, "run")
        return self.job(key, "inactive", seconds, outcome="failed", reason=reason, exit_code=1, **fields)

    def wait(self, seconds, heartbeat=False):
        return self.tell(TimerFired(heartbeat), seconds)

    def all_good(self, seconds=1.0, limit=10_000):
        """Let everything that is open succeed, and what follows from it."""
        while self.open and limit:
            limit -= 1
            self.good(next(iter(self.open)), seconds)

    def fired(self, rule=None):
        wanted = {} if rule is None else {"rule": rule}
        return [(record.seq, step.rule) for record in self.records for step in steps(record, "fired", **wanted)]

    def groups(self):
        return {cell.group: cell for cell in self.engine.status().groups}

    def replays(self):
        """A replay and a restored snapshot are the same as what lived."""
        again = Engine(self.spec, algorithms=BUILTIN)
        for record in self.records:
            again.apply(record)
        again.check()
        assert again.snapshot() == self.engine.snapshot()
        plain = json.loads(json.dumps(self.engine.snapshot()))
        restored = Engine.restore(self.spec, plain, BUILTIN)
        restored.check()
        assert json.loads(json.dumps(restored.snapshot())) == plain
        return restored
