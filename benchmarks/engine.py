"""Events per second of the engine on one core, and that the cost of an event does not grow.

Compared to: the limit of any engine in this Python, a bare loop that looks a job up and adds to two counters.
"""

import gc
import time

from msgspec import to_builtins

from ensemble.engine import Engine
from ensemble.model.decisions import Submit
from ensemble.model.events import JobEvent, MemberEvent, RunStarted, SubmitAnswered
from ensemble.spec.loader import loads

REACH = 250_000


def engine_with(groups, jobs, rules):
    lines = ["jobs:"]
    lines += [f"  - {{name: g{index}, command: x, count: {jobs // groups}, submit: start}}" for index in range(groups)]
    lines += ["rules:", *rules] if rules else []
    spec = loads("\n".join(lines))
    engine = Engine(spec, run="bench")
    engine.handle(RunStarted("bench", to_builtins(spec), "0"), 0.0)
    record = engine.handle(
        MemberEvent("local", "open", stream="s", nodes_up=1, cores_up=64, cores_free=64, cores_per_node=64), 0.0
    )
    return engine, record


def bare(events):
    state, counts = {}, [0, 0]
    began = time.process_time()
    for event in events:
        found = state.get(event.key)
        state[event.key] = event.state
        counts[0] += 1
        counts[1] += event.time if found else 0.0
    return len(events) / (time.process_time() - began)


def measure(groups, jobs, rules):
    """Feed every event of `jobs` jobs (run and end of each); return events per second, engine and bare loop."""
    engine, record = engine_with(groups, jobs, rules)
    handle = engine.handle
    spent = 0.0
    count = 0
    at = 1.0
    batch = [record]
    loops = []
    while batch and engine.ended is None:
        keys = []
        for one in batch:
            for step in one.steps:
                for effect in getattr(step, "effects", ()):
                    if isinstance(effect, Submit):
                        handle(SubmitAnswered(effect.id, "local"), at)
                        for span in effect.spans:
                            keys += [f"{span.group}-{n}" for n in range(span.first, span.first + span.count)]
        batch = []
        events = []
        for key in keys:
            at += 1e-4
            events.append(JobEvent("local", key, "run", at))
            events.append(JobEvent("local", key, "inactive", at + 1.0, outcome="success", exit_code=0))
        loops.append(bare(events))
        gc.disable()
        began = time.process_time()
        for event in events:
            done = handle(event, event.time)
            if done.steps:
                batch.append(done)
        spent += time.process_time() - began
        gc.enable()
        count += len(events)
    return count / spent, sorted(loops)[len(loops) // 2]


def disjoint(count):
    return [
        f'  - {{trigger: metric, name: mean.g{index}.duration, when: "> 1e9", action: {{name: submit, label: g0}}}}'
        for index in range(count)
    ]


def thresholds(count):
    return [
        f'  - {{trigger: metric, name: mean.g0.duration, when: "> {1000 + index}", action: {{name: submit, label: g0}}}}'
        for index in range(count)
    ]


def main():
    print(
        f"engine: events per second on one core (two events a job), by processor time\n"
        f"  reach: rate / {REACH:,}, the design's figure\n"
        f"  bare: rate / that of a loop over the same decoded events which looks a job up and adds to two counters\n"
        f"  ruleless: rate / that of the same groups and jobs without any rule, measured right after\n"
        f"  cost: of an event, against the first line of its kind (1 rule; 10^3 jobs)"
    )
    rows = [
        ("1 rule", 1, 20_000, disjoint(1)),
        ("1,000 rules on disjoint metrics", 1000, 20_000, disjoint(1000)),
        ("1,000 thresholds on one metric", 1, 20_000, thresholds(1000)),
        ("no rule, 10^3 jobs", 1, 1_000, []),
        ("no rule, 10^4 jobs", 1, 10_000, []),
        ("no rule, 10^5 jobs", 1, 100_000, []),
        ("no rule, 10^6 jobs", 1, 1_000_000, []),
    ]
    first = {}
    for name, groups, jobs, rules in rows:
        rate, limit = measure(groups, jobs, rules)
        ruleless = f"{rate / measure(groups, jobs, [])[0]:4.2f}" if rules else "   -"
        base = first.setdefault("rules" if rules else "jobs", rate)
        print(
            f"  {name:34} {rate:>10,.0f}/s  {1e6 / rate:5.2f} us an event   reach {rate / REACH:4.2f}"
            f"   bare {rate / limit:5.3f}   ruleless {ruleless}   cost {base / rate:4.2f}"
        )


if __name__ == "__main__":
    main()
