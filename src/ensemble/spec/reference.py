"""The reference of the ensemble file as Markdown, from the keys and words of the format: `docs/reference.md`.

`ensemble schema --markdown > docs/reference.md` writes it anew; a test compares the file with it. What a key means
stands at the key in `spec.model`, what a trigger or a count means in `spec.vocabulary`, what an action means at the
action, and what a statistic means in `metrics.statistics`.
"""

from __future__ import annotations

__all__ = ["keys_table", "reference"]

from collections.abc import Iterator, Mapping
from typing import Final

from ensemble.metrics.statistics import STATISTICS
from ensemble.model.jobs import COUNTS
from ensemble.spec.actions import actions
from ensemble.spec.expressions import FUNCTIONS
from ensemble.spec.keys import Key, keys_of
from ensemble.spec.model import (
    ActionSpec,
    EnsembleSpec,
    GroupSpec,
    LimitsSpec,
    LoggingSpec,
    MemberSpec,
    OutputRule,
    RetrySpec,
    RuleSpec,
)
from ensemble.spec.schema import schema_of
from ensemble.spec.vocabulary import MEMBER_EVENTS, MEMBER_METRICS, QUANTITIES, TRIGGERS

_SECTIONS: Final[tuple[tuple[str, type, str], ...]] = (
    ("The file", EnsembleSpec, "jobs:\n  - name: hello\n    command: echo hello world\n    count: 5\n"),
    (
        "Jobs",
        GroupSpec,
        "jobs:\n  - name: melt\n    parameters: {T: [0.8, 1.1], N: [1, 2]}\n    count: 3\n"
        '    command: lmp -in in.melt -var T {T} -var seed {seed}\n    tasks: "{N * 32}"\n    walltime: 20m\n'
        "    inputs: [in.melt]\n    outputs:\n      pressure: {from: log.lammps, pattern: '^PRESSURE (.*)'}\n"
        "    valid: pressure > 0\n    retries: {limit: 2, reasons: [signal]}\n",
    ),
    ("Retries", RetrySpec, "retries: {limit: 3, reasons: [exit, signal], delay: 30s, elsewhere: true}\n"),
    (
        "Outputs",
        OutputRule,
        "outputs:\n  loop_time: 'Loop time of ([\\d.]+)'\n  energy: {from: out.json, pointer: /energy}\n",
    ),
    (
        "Members",
        MemberSpec,
        "members:\n  local: {nodes: {min: 1, max: 4}, cores: 8, price: 0.41 USD/node-hour}\n",
    ),
    (
        "Rules",
        RuleSpec,
        "rules:\n  - trigger: metric\n    for_each: T\n"
        "    when: rel_ci95.melt.pressure > 0.02 and count.melt.active == 0\n"
        "    action: {name: submit, label: melt, value: 1, repetitions: 15}\n",
    ),
    ("Actions", ActionSpec, "action: {name: grow, member: local, value: 1, repetitions: 3, cooldown: 60s}\n"),
    ("Limits", LimitsSpec, "limits: {jobs: 400, cost: 5.00, walltime: 2h, on_limit: drain}\n"),
    ("Logging", LoggingSpec, "logging: {heartbeat: 30s}\n"),
)


def reference(algorithms: Mapping[str, str] | None = None) -> str:
    """The whole reference. `algorithms`: what each says of itself in Markdown, by name."""
    return "\n".join([*_lines(algorithms or {})]).rstrip() + "\n"


def _lines(algorithms: Mapping[str, str]) -> Iterator[str]:
    yield "<!-- Written by `ensemble schema --markdown > docs/reference.md`; edit the descriptions in the code. -->"
    yield "# The ensemble file"
    yield ""
    yield (
        "An ensemble is one YAML file: groups of `jobs`, and `rules` that react to what the jobs do. Only `jobs` is "
        "needed. `ensemble check FILE` says what is wrong in it; `ensemble schema` prints a JSON Schema for editors."
    )
    for title, struct, example in _SECTIONS:
        yield from ("", f"## {title}", "", _sentence(struct.__doc__ or ""), "")
        yield from ("```yaml", example.rstrip("\n"), "```", "")
        yield from keys_table(struct)
        yield from _MORE.get(title, _nothing)()
    yield from ("", "## Algorithms", "")
    yield "A packaged set of rules: `algorithm: <name>`, or `algorithm: {name: ..., options: {...}}`."
    for name, text in algorithms.items():
        yield from ("", f"### {name}", "", text.strip())
    yield from _units()


def _nothing() -> Iterator[str]:
    yield from ()


def keys_table(struct: type) -> Iterator[str]:
    """Yield the lines of the table of a struct's keys."""
    yield from ("| key | value | default | meaning |", "|---|---|---|---|")
    for key in keys_of(struct):
        default = "**needed**" if key.needed else _default(key)
        since = f" Since {key.since}." if key.since else ""
        yield f"| `{key.name}` | {key.shape.words} | {default} | {_cell(key.help)}{since} |"
        for alias in key.aliases:
            yield f"| `{alias}` | {key.shape.words} |  | Another word for `{key.name}`. |"


def _sentence(text: str) -> str:
    return text if not text or text.endswith((".", "?", ")")) else f"{text}."


def _cell(text: str) -> str:
    """Text of one cell: no bar ends it, and outside code no `<` begins a tag."""
    parts = text.replace("|", "\\|").split("`")
    return "`".join(part if index % 2 else part.replace("<", "\\<") for index, part in enumerate(parts))


def _default(key: Key) -> str:
    value = schema_of(key).get("default")
    if value is None or isinstance(value, dict | list | tuple):
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"`{_cell(f'{value:g}' if isinstance(value, float) else str(value))}`"


def _table(first: str, second: str, rows: Mapping[str, str]) -> Iterator[str]:
    yield from ("", f"| {first} | {second} |", "|---|---|")
    for name, meaning in rows.items():
        yield f"| `{name}` | {_cell(_sentence(meaning))} |"


# ---- what tables of keys cannot say -----------------------------------------------------------------


def _about_jobs() -> Iterator[str]:
    yield from ("", "### Parameters", "")
    yield (
        "Every combination of the values is a *point*, and each point gets `count` jobs. Instead of a grid, one method "
        "may stand alone: `zip`, `list`, `random`, `latin-hypercube`, `sobol`, `from` or `function`. The file of "
        "`from` is found beside the ensemble file; its first row names the axes, and its values are read as YAML reads "
        "them. Its rows are kept with the run, so that a resumed run does not read it again."
    )
    yield from (
        "",
        "```yaml",
        "parameters: {T: [0.8, 1.1], N: {from: 1, to: 4}}                # a grid; also {from, to, step}",
        "parameters: {zip: {T: [0.8, 1.1], N: [1, 2]}}                   # first with first, second with second",
        "parameters: {list: [{T: 0.8, N: 1}, {T: 1.1, N: 4}]}            # each point as it is",
        "parameters: {random: {samples: 20, x: {from: 0, to: 1}}}        # also scale, integer, choice",
        "parameters: {latin-hypercube: {samples: 20, x: {from: 0, to: 1}}}",
        "parameters: {sobol: {samples: 16, x: {from: 0, to: 1}}}         # needs ensemble-hpc[sobol]",
        "parameters: {from: points.csv}                                  # a row is a point, a column is an axis",
        'parameters: {function: "sweep.py:points"}                       # returns a list of mappings',
        "```",
    )
    yield from ("", "### Placeholders", "")
    yield (
        "`{axis}`, `{run}` (the run's directory), `{key}`, `{attempt}` and `{seed}` (fixed for each job) are filled "
        "in, and so is arithmetic on them: `{N * 32}`. Other braces stay as they are: `${HOME}`, "
        "`awk '{print $1}'`, JSON."
    )
    yield from ("", "### Inputs", "")
    yield (
        "A file beside the ensemble file is linked into the work directory (`in.melt`, or `{path: in.melt, to: in}`), "
        "or rendered with its placeholders filled in (`{render: in.template, to: in}`, or `{text: ..., to: in}`)."
    )


def _about_rules() -> Iterator[str]:
    yield from ("", "[rules.md](rules.md) explains how rules are evaluated.", "", "### Triggers")
    events = ", ".join(f"`member-{name}` (it {meaning})" for name, meaning in MEMBER_EVENTS.items())
    more = {
        "job-native-<event>": "An event of the queue under its own name, such as Flux' `alloc` (RFC 21).",
        "member-<event>": f"Something happened to a member: {events}.",
    }
    yield from _table("trigger", "fires", {**TRIGGERS, **more})
    yield from ("", "A job trigger without `name` means every group.", "", "### Conditions", "")
    yield (
        "`when` is a number (`name` equals it), a comparison (`> 5.5`), or an expression over metrics with `and`, "
        f"`or`, `not`, `+ - * / // % **`, parentheses and {', '.join(f'`{name}`' for name in FUNCTIONS)}. A condition "
        "that reads a value which is not known yet, or that divides by zero, is unknown, and the rule does not fire."
    )
    yield from ("", "### Metrics", "")
    yield (
        "A metric is `<statistic>.<group>.<quantity>`: `mean.melt.duration`, `p95.melt.pending`, `count.melt.success`. "
        "`melt[T=1.1]` means the points with that value; inside `for_each`, `melt` means the rule's own value and "
        "`melt[*]` the whole group. `derived.<group>.<name>` is a value under `derived`."
    )
    yield from _table("statistic", "meaning", {one.shown or one.name: one.help for one in STATISTICS.values()})
    yield from _table("quantity", "meaning", {**QUANTITIES, "<figure>": "any name under `outputs`"})
    yield from ("", "Counts of jobs, as in `count.melt.success`; `count.*.success` is over all groups:")
    yield from _table("count", "jobs that are", COUNTS)
    members = ", ".join(f"`{name}.<member>.{{{','.join(parts)}}}`" for name, parts in MEMBER_METRICS.items())
    yield from ("", f"Of a member (its name may be left out where there is one): {members}.")


def _about_actions() -> Iterator[str]:
    rows = {
        name: kind.meaning if name == kind.name else f"The same as `{kind.name}`."
        for name, kind in actions().items()
        if kind.in_file
    }
    yield from _table("action", "does", rows)


def _about_limits() -> Iterator[str]:
    yield ""
    yield (
        "A job starts only when `cost` and `node_hours` cover it until the end of its `walltime`; what it does not use "
        "is free again when it ends. A member whose size can change (`local`, `simulated`, `minicluster`) is paid for "
        "as long as it holds its nodes, so there all of them are covered until the last walltime under way has passed. "
        "For 12 jobs of 1 s with `walltime: 2s` on 4 such nodes, each at 1 USD a second, `cost: 9` covers one round: "
        "its 4 jobs reserve 8 USD and spend 4, and the 5 USD that are left do not cover a second round; with "
        "`walltime: 1.2s`, two rounds run and spend 8 USD."
    )


def _units() -> Iterator[str]:
    yield from ("", "## Units", "")
    yield (
        "*Durations* are numbers with a unit (`350ms`, `90s`, `20m`, `2h`, `1d`, `1h30m`), Slurm's `0:20:00` and "
        "`1-00:00:00`, or plain numbers, which are seconds. *Prices* are per node-hour: `0.41 USD/node-hour`, `0.41`. "
        "Times in metrics are seconds."
    )


_MORE: Final = {"Jobs": _about_jobs, "Rules": _about_rules, "Actions": _about_actions, "Limits": _about_limits}
