"""The worked traces of docs/rules.md, made by the engine itself.

`python -m tests.engine.traces` writes them into the document; `test_traces.py` compares.
"""

from pathlib import Path

from ensemble.algorithms import BUILTIN
from ensemble.engine import Engine
from ensemble.model.decisions import Create, End, Firing, Held, Note
from ensemble.model.events import JobEvent, MemberEvent, ResizeDone, RunStarted, SubmitAnswered, TimerFired
from ensemble.report.describe import phrase
from tests.engine.world import World

DOCUMENT = Path(__file__).parents[2] / "docs" / "rules.md"


def match(tell):
    world = tell("""
jobs:
  - {name: sleep, command: sleep 1, count: 4, submit: start}
  - {name: echo, command: echo hi, submit: rules}
rules:
  - {trigger: metric, name: count.sleep.success, when: ">= 2", action: {name: submit, label: echo, repetitions: 2}}
""")
    for key in ("sleep-0", "sleep-1", "sleep-2", "sleep-3", "echo-0", "echo-1"):
        world.good(key)
    return world


def backoff(tell):
    world = tell("""
jobs:
  - {name: sleep, command: sleep 1, count: 7, submit: start}
  - {name: echo, command: echo hi, submit: rules}
rules:
  - {trigger: job-success, name: sleep, action: {name: submit, label: echo, repetitions: 3, backoff: 2}}
""")
    for number in range(7):
        world.good(f"sleep-{number}")
    return world


def cooldown(tell):
    world = tell("""
jobs:
  - {name: sleep, command: sleep 1, count: 3, submit: start}
  - {name: echo, command: echo hi, submit: rules}
rules:
  - {trigger: job-success, name: sleep, action: {name: submit, label: echo, repetitions: 3, cooldown: 60s}}
""")
    for number in range(3):
        world.good(f"sleep-{number}")
    world.good("echo-0")
    world.wait(57)
    world.good("echo-1")
    return world


def each(tell):
    world = tell("""
jobs:
  - {name: melt, command: "lmp -var T {T}", parameters: {T: [1, 2]}, count: 2, submit: start, outputs: {p: '(.*)'}}
rules:
  - {trigger: metric, for_each: T, when: "mean.melt.p > 5", action: {name: submit, label: melt, value: 1}}
""")
    for key, p in (("melt-0", 4.0), ("melt-2", 9.0), ("melt-1", 8.0), ("melt-3", 9.0), ("melt-4", 9.0)):
        world.good(key, figures={"p": p})
    world.good("melt-5", figures={"p": 1.0})
    return world


def grow(tell):
    world = tell("""
members: {local: {nodes: {min: 1, max: 4}}}
logging: {heartbeat: 10s}
jobs:
  - {name: sleep, command: sleep 1, count: 3}
rules:
  - {trigger: metric, name: mean.sleep.pending, when: "> 15", action: {name: grow, repetitions: 2}}
""")
    world.wait(10, heartbeat=True)
    world.wait(10, heartbeat=True)
    world.wait(10, heartbeat=True)
    world.tell(ResizeDone(world.resizes[0].id, "local", 2), 5)
    world.wait(5, heartbeat=True)
    return world


def unknown(tell):
    world = tell("""
jobs:
  - {name: a, command: x, count: 3, submit: start, outputs: {p: '(.*)'}}
  - {name: b, command: x, submit: rules}
rules:
  - {trigger: metric, when: "mean.a.p < 5 or std.a.p / mean.a.p > 1", action: {name: submit, label: b}}
""")
    world.good("a-0")
    world.good("a-1", figures={"p": 9.0})
    world.good("a-2", figures={"p": 0.0})
    return world


def never(tell):
    return tell("""
jobs:
  - {name: big, command: x, tasks: 64, count: 2, submit: start}
  - {name: small, command: x, submit: rules}
rules:
  - {trigger: metric, name: count.big.failed, when: "> 0", action: {name: submit, label: small}}
""")


TRACES = {
    "match": match,
    "backoff": backoff,
    "cooldown": cooldown,
    "for-each": each,
    "open-action": grow,
    "unknown": unknown,
    "never-fits": never,
}


def trace(name):
    """The file and the table of one trace, as Markdown."""
    texts = []

    def tell(text):
        texts.append(text.strip("\n"))
        return World(text)

    world = TRACES[name](tell)
    world.replays()
    read = _read(world)
    rows = ["| after | event | values read | decision |", "|---|---|---|---|"]
    for record in world.records:
        row = _row(record, read.get(record.seq, ""))
        if row is not None:
            rows.append("| " + " | ".join(row) + " |")
    return "\n".join(["```yaml", texts[0], "```", "", *rows])


def _read(world):
    """After each record, what the conditions read: told where a condition was looked at and nothing came of it."""
    engine = Engine(world.spec, run="r-1", algorithms=BUILTIN)
    read = {}
    for record in world.records:
        before = {rule.id: rule.why() for rule in engine.state.rules.values()}
        engine.apply(record)
        told = [
            _values(rule.why())
            for rule in engine.state.rules.values()
            if rule.readers and rule.considered and rule.why() != before.get(rule.id)
        ]
        read[record.seq] = "; ".join(told)
    return read


def _row(record, read):
    event = _event(record.event)
    steps = [_step(step) for step in record.steps]
    said = [text for _, text in steps if text]
    if not event or (isinstance(record.event, JobEvent) and record.event.state == "run" and not said):
        return None
    why = [text for text, _ in steps if text]
    return f"{record.at - 100.0:g} s", event, "; ".join(why) or read, "; ".join(said) or "nothing"


def _event(event):
    match event:
        case RunStarted():
            return "the run starts"
        case JobEvent(state="inactive"):
            figures = ", ".join(f"{name} = {value:g}" for name, value in (event.figures or {}).items())
            return f"{event.key}: {event.outcome}" + (f", {figures}" if figures else "")
        case JobEvent():
            return f"{event.key}: {event.state}"
        case TimerFired():
            return "a heartbeat" if event.heartbeat else "a timer"
        case ResizeDone():
            return f"{event.member} has {event.nodes} nodes"
        case MemberEvent():
            return f"{event.member} opens: {event.nodes_up} node of {event.cores_per_node} cores"
        case SubmitAnswered():
            return ""
    raise TypeError(event)


def _step(step):
    if isinstance(step, Held):
        left = f", {step.left} more to skip" if step.by == "backoff" else f" until {step.until - 100.0:g} s"
        return "", f"{step.rule} matches, held by {step.by}{left}"
    effects = [text for text in map(_effect, step.effects) if text]
    if isinstance(step, Firing):
        return _values(step.why), f"**{step.rule} fires**: {', '.join(effects)}"
    return "", ", ".join(effects)


def _values(why):
    return ", ".join(f"`{name}` = {'unknown' if value is None else f'{value:.4g}'}" for name, value in why.items())


def _effect(effect):
    match effect:
        case Create():
            last = effect.span.first + effect.span.count - 1
            first = f"{effect.span.group}-{effect.span.first}"
            return f"{first} is created" if effect.span.count == 1 else f"{first} to {last} are created"
        case Note():
            return f"note `{effect.name}`: {effect.text}"
        case End():
            return f"the ensemble ends: {effect.outcome}"
    return phrase(effect)


def written(text):
    """The document with every trace made anew."""
    for name in TRACES:
        begin, end = f"<!-- trace {name} -->\n", f"<!-- end {name} -->"
        head, rest = text.split(begin)
        _, tail = rest.split(end)
        text = f"{head}{begin}\n{trace(name)}\n\n{end}{tail}"
    return text


if __name__ == "__main__":
    DOCUMENT.write_text(written(DOCUMENT.read_text()))
