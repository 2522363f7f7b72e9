"""The reference of the ensemble file as Markdown, from the same descriptions as the schema: `docs/reference.md`.

`ensemble schema --markdown > docs/reference.md` writes it anew; a test holds the file against it. What a key means
stands at the key in `spec.model`; what a trigger, an action or a statistic means stands here.
"""

from __future__ import annotations

__all__ = ["COUNT_MEANINGS", "STATISTIC_MEANINGS", "TRIGGER_MEANINGS", "reference"]

from collections.abc import Iterator, Mapping
from typing import Any, Final

from ensemble.spec.actions import actions
from ensemble.spec.expressions import FUNCTIONS, MEMBER_METRICS
from ensemble.spec.schema import ABOVE_ZERO, DURATION, NAME, PRICE, TEXT, schema

TRIGGER_MEANINGS: Final = {
    "start": "Once, when the run starts.",
    "interval": "Every `seconds`, for as long as anything else is open; it does not keep the run alive.",
    "metric": "When a value that its condition reads has changed and the condition is true.",
    "idle": "When nothing runs and nothing waits, before the run ends.",
    "job-depend": "A job of the group waits for others in the queue.",
    "job-sched": "A job waits for resources.",
    "job-run": "A job has begun to run.",
    "job-cancel": "A job was cancelled.",
    "job-cleanup": "A job is being cleaned up.",
    "job-finish": "A job is over, however it ended.",
    "job-success": "A job ended with exit code 0 and, where given, a true `valid`.",
    "job-fail": "A job failed, after its last attempt.",
    "job-retry": "A job is tried again after a failed attempt.",
    "job-native-<event>": "An event of the queue under its own name, such as Flux' `alloc` (RFC 21).",
    "member-<event>": "Of a member: `open`, `up`, `down`, `nodes` (its size), `inventory`, `closed`, `gone`, `fault`.",
}

STATISTIC_MEANINGS: Final = {
    "count": "how many values there are, or how many jobs (below)",
    "sum": "their sum",
    "mean": "arithmetic mean",
    "variance": "sample variance (n - 1)",
    "std": "sample standard deviation",
    "sem": "standard error of the mean, std / sqrt(n)",
    "ci95": "half the width of the 95 % confidence interval of the mean (Student's t)",
    "rel_ci95": "ci95 / abs(mean): 0.02 says that the mean is known to 2 %",
    "min": "smallest",
    "max": "largest",
    "ewma": "exponentially weighted mean, which follows a drift",
    "median": "median, to 1 %",
    "p1 ... p99": "percentile, to 1 %",
    "iqr": "interquartile range, p75 - p25",
    "mad": "median absolute deviation from the median",
}

COUNT_MEANINGS: Final = {
    "submitted": "created so far",
    "pending": "not yet running",
    "running": "running",
    "active": "pending or running",
    "finished": "over, however they ended",
    "success": "ended well",
    "failed": "failed after their last attempt",
    "cancelled": "cancelled",
    "lost": "gone with the node or queue they were on",
    "failed_attempts": "attempts that failed, retried ones included",
}

_QUANTITY_MEANINGS: Final = {
    "duration": "seconds from start to end of a job",
    "pending": "seconds from submission to start; a waiting job counts once, at its present age",
    "node_hours": "node-hours that a job took",
    "cost": "their price",
    "<figure>": "any name under `outputs`",
}

_SECTIONS: Final = (
    ("The file", "", "jobs:\n  - name: hello\n    command: echo hello world\n    count: 5\n"),
    (
        "Jobs",
        "GroupSpec",
        "jobs:\n  - name: melt\n    parameters: {T: [0.8, 1.1], N: [1, 2]}\n    count: 3\n"
        '    command: lmp -in in.melt -var T {T} -var seed {seed}\n    tasks: "{N * 32}"\n    walltime: 20m\n'
        "    inputs: [in.melt]\n    outputs:\n      pressure: {from: log.lammps, pattern: '^PRESSURE (.*)'}\n"
        "    valid: pressure > 0\n    retries: {limit: 2, reasons: [signal]}\n",
    ),
    ("Retries", "RetrySpec", "retries: {limit: 3, reasons: [exit, signal], delay: 30s, elsewhere: true}\n"),
    (
        "Outputs",
        "OutputRule",
        "outputs:\n  loop_time: 'Loop time of ([\\d.]+)'\n  energy: {from: out.json, pointer: /energy}\n",
    ),
    (
        "Members",
        "MemberSpec",
        "members:\n  local: {nodes: {min: 1, max: 4}, cores: 8, price: 0.41 USD/node-hour}\n",
    ),
    (
        "Rules",
        "RuleSpec",
        "rules:\n  - trigger: metric\n    for_each: T\n"
        "    when: rel_ci95.melt.pressure > 0.02 and count.melt.active == 0\n"
        "    action: {name: submit, label: melt, value: 1, repetitions: 15}\n",
    ),
    ("Actions", "ActionSpec", "action: {name: grow, member: local, value: 1, repetitions: 3, cooldown: 60s}\n"),
    ("Limits", "LimitsSpec", "limits: {jobs: 400, cost: 5.00, walltime: 2h, on_limit: drain}\n"),
    ("Logging", "LoggingSpec", "logging: {heartbeat: 30s}\n"),
)

_LINKS: Final = {name: f"[{title}](#{title.lower()})" for title, name, _ in _SECTIONS if name}
_LINKS["AlgorithmSpec"] = "[Algorithms](#algorithms)"


def reference(algorithms: Mapping[str, str] | None = None) -> str:
    """The whole reference. `algorithms`: what each says of itself in Markdown, by name."""
    return "\n".join([*_lines(schema(), algorithms or {})]).rstrip() + "\n"


def _lines(whole: dict[str, Any], algorithms: Mapping[str, str]) -> Iterator[str]:
    yield "<!-- Written by `ensemble schema --markdown > docs/reference.md`; edit the descriptions in the code. -->"
    yield "# The ensemble file"
    yield ""
    yield (
        "An ensemble is one YAML file: groups of `jobs`, and `rules` that react to what the jobs do. Only `jobs` is "
        "needed. `ensemble check FILE` says what is wrong in it; `ensemble schema` prints a JSON Schema for editors."
    )
    for title, name, example in _SECTIONS:
        definition = whole["$defs"][name] if name else whole
        yield from ("", f"## {title}", "", _sentence(definition.get("description", "")), "")
        yield from ("```yaml", example.rstrip("\n"), "```", "")
        yield from _keys(definition)
        yield from _MORE.get(title, _nothing)()
    yield from ("", "## Algorithms", "")
    yield "A packaged set of rules: `algorithm: <name>`, or `algorithm: {name: ..., options: {...}}`."
    for name, text in algorithms.items():
        yield from ("", f"### {name}", "", text.strip())
    yield from _units()


def _nothing() -> Iterator[str]:
    yield from ()


def _keys(definition: dict[str, Any]) -> Iterator[str]:
    required = definition.get("required", ())
    yield from ("| key | value | default | meaning |", "|---|---|---|---|")
    for key, shape in definition["properties"].items():
        default = "**needed**" if key in required else _default(shape.get("default"))
        yield f"| `{key}` | {_words(shape)} | {default} | {_cell(_sentence(shape.get('description', '')))} |"


def _described(struct: str, key: str) -> str:
    description: str = schema()["$defs"][struct]["properties"][key]["description"]
    return description


def _default(value: Any) -> str:
    if value is None or isinstance(value, dict | list | tuple):
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"`{_cell(f'{value:g}' if isinstance(value, float) else str(value))}`"


def _sentence(text: str) -> str:
    return text if not text or text.endswith((".", "?")) else f"{text}."


def _cell(text: str) -> str:
    """Text of one cell: no bar ends it, and outside code no `<` begins a tag."""
    parts = text.replace("|", "\\|").split("`")
    return "`".join(part if index % 2 else part.replace("<", "\\<") for index, part in enumerate(parts))


def _words(shape: Mapping[str, Any]) -> str:
    """What may be written, for people."""
    for known, words in _KNOWN:
        if all(shape.get(key) == value for key, value in known.items()):
            return words
    if "not" in shape:
        return ""  # one value that stands for a list of one: said by the list
    if "$ref" in shape:
        return _LINKS.get(shape["$ref"].rpartition("/")[2], "a mapping")
    if shape.get("description") in _ELSEWHERE:
        return _ELSEWHERE[shape["description"]]
    if "enum" in shape:
        return ", ".join(f"`{word}`" for word in shape["enum"])
    if "anyOf" in shape:
        return " or ".join(dict.fromkeys(words for one in shape["anyOf"] if (words := _words(one))))
    kinds = shape.get("type", "anything")
    if isinstance(kinds, list):
        return " or ".join(words for kind in kinds if (words := _words({**shape, "type": kind})))
    if kinds == "array":
        return f"a list of {_words(shape['items'])}"
    if kinds == "object" and isinstance(shape.get("additionalProperties"), dict):
        return f"by name: {_words(shape['additionalProperties'])}"
    if kinds == "object" and "properties" in shape:
        return "`{" + ", ".join(shape["properties"]) + "}`"
    if "pattern" in shape:
        return "text with placeholders"
    return _PLAIN[kinds]


_ELSEWHERE: Final = {
    _described("RuleSpec", "trigger"): "a [trigger](#triggers)",
    _described("RuleSpec", "action"): "[Actions](#actions) or the name of one",
    _described("ActionSpec", "name"): "an action (below)",
}
"""Values that have a table of their own, by their description."""

_KNOWN: Final[tuple[tuple[Mapping[str, Any], str], ...]] = (
    (DURATION, "a duration"),
    ({"examples": DURATION["examples"]}, "a duration or text with placeholders"),
    (PRICE, "a price"),
    (ABOVE_ZERO, "a number above 0"),
    (NAME, "a name"),
    (TEXT, "text"),
)

_PLAIN: Final = {
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "`true` or `false`",
    "object": "a mapping",
    "null": "",
    "anything": "anything",
}


def _table(first: str, second: str, rows: Mapping[str, str]) -> Iterator[str]:
    yield from ("", f"| {first} | {second} |", "|---|---|")
    for name, meaning in rows.items():
        yield f"| `{name}` | {_cell(_sentence(meaning))} |"


# ---- what tables of keys cannot say -----------------------------------------------------------------


def _about_jobs() -> Iterator[str]:
    yield from ("", "### Parameters", "")
    yield (
        "Every combination of the values is a *point*, and each point gets `count` jobs. Instead of a grid, one method "
        "may stand alone: `zip`, `list`, `random`, `latin-hypercube`, `sobol` or `function`."
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
    yield from ("", "How rules are evaluated is told in [rules.md](rules.md).", "", "### Triggers")
    yield from _table("trigger", "fires", TRIGGER_MEANINGS)
    yield from ("", "A job trigger without `name` means every group.", "", "### Conditions", "")
    yield (
        "`when` is a number (`name` equals it), a comparison (`> 5.5`), or an expression over metrics with `and`, "
        f"`or`, `not`, `+ - * / // % **`, parentheses and {', '.join(f'`{name}`' for name in FUNCTIONS)}. What reads "
        "a value that is not known yet, or divides by zero, is unknown, and an unknown condition does not fire."
    )
    yield from ("", "### Metrics", "")
    yield (
        "A metric is `<statistic>.<group>.<quantity>`: `mean.melt.duration`, `p95.melt.pending`, `count.melt.success`. "
        "`melt[T=1.1]` means the points with that value; inside `for_each`, `melt` means the rule's own value and "
        "`melt[*]` the whole group. `derived.<group>.<name>` is a value under `derived`."
    )
    yield from _table("statistic", "meaning", STATISTIC_MEANINGS)
    yield from _table("quantity", "meaning", _QUANTITY_MEANINGS)
    yield from ("", "Counts of jobs, as in `count.melt.success`; `count.*.success` is over all groups:")
    yield from _table("count", "jobs that are", COUNT_MEANINGS)
    members = ", ".join(f"`{name}.<member>.{{{','.join(parts)}}}`" for name, parts in MEMBER_METRICS.items())
    yield from ("", f"Of a member (its name may be left out where there is one): {members}.")


def _about_actions() -> Iterator[str]:
    rows = {
        name: kind.meaning if name == kind.name else f"The same as `{kind.name}`."
        for name, kind in actions().items()
        if kind.in_file
    }
    yield from _table("action", "does", rows)


def _units() -> Iterator[str]:
    yield from ("", "## Units", "")
    yield (
        "*Durations* are numbers with a unit (`350ms`, `90s`, `20m`, `2h`, `1d`, `1h30m`), Slurm's `0:20:00` and "
        "`1-00:00:00`, or plain numbers, which are seconds. *Prices* are per node-hour: `0.41 USD/node-hour`, `0.41`. "
        "Times in metrics are seconds."
    )


_MORE: Final = {"Jobs": _about_jobs, "Rules": _about_rules, "Actions": _about_actions}
