"""The ensemble file as checked data.

The loader turns a file (or the Python API's objects) into one `EnsembleSpec`; the engine, the members
and the journal see nothing else. Durations are seconds. Text with placeholders stays text until a job
is rendered. The descriptions here are the file reference and the JSON Schema.
"""

from __future__ import annotations

__all__ = [
    "UNLIMITED",
    "ActionSpec",
    "AlgorithmSpec",
    "EnsembleSpec",
    "GroupSpec",
    "LimitsSpec",
    "LoggingSpec",
    "MemberSpec",
    "OutputRule",
    "PointValues",
    "RetrySpec",
    "RuleSpec",
]

from typing import Annotated, Any, Final

from msgspec import Meta, Struct

from ensemble.model.jobs import FileInput, Scalar

UNLIMITED: Final = -1
"""`repetitions: unlimited`."""

PointValues = dict[str, Scalar]
"""One point: the value of each axis, in the order of the axes."""


def _doc(text: str) -> Meta:
    return Meta(description=text)


class RetrySpec(Struct, frozen=True, omit_defaults=True):
    """What happens after a failed attempt. In the file also a plain number, meaning `limit`."""

    limit: Annotated[int, _doc("How many more attempts a job gets")] = 0
    reasons: Annotated[tuple[str, ...], _doc("Only for these reasons; empty: for any")] = ()
    delay: Annotated[float, _doc("Seconds before the next attempt")] = 0.0
    elsewhere: Annotated[bool, _doc("Avoid the hosts of the failed attempt")] = False
    command: Annotated[str, _doc("The command of later attempts, if another")] = ""


class OutputRule(Struct, frozen=True, omit_defaults=True):
    """How a figure of merit is read from a job's output. In the file also a plain pattern."""

    source: Annotated[str, _doc("`stdout`, `stderr` or a file in the work directory (key `from`)")] = "stdout"
    pattern: Annotated[str, _doc("Regular expression; its first group is the number")] = ""
    pointer: Annotated[str, _doc("JSON pointer (RFC 6901) into a JSON file")] = ""
    function: Annotated[str, _doc("`module:name`, called with the path, returns a number")] = ""
    take: Annotated[str, _doc("first, last, min, max, mean, sum or count of the matches")] = "last"
    required: Annotated[bool, _doc("A job without it has failed, for the reason `outputs`")] = False


class GroupSpec(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A named template of jobs: one entry of `jobs`. Several entries may share a name."""

    name: Annotated[str, _doc("Name of the group")]
    command: Annotated[str, _doc("Program of one task; several lines are a script")] = ""
    count: Annotated[int, _doc("Jobs per point")] = 1
    parameters: Annotated[dict[str, Any], _doc("Axes: each combination is a point")] = {}
    points: tuple[PointValues, ...] = ({},)
    """Every point, in file order (made by the loader from `parameters`; one empty point without)."""
    axes: tuple[str, ...] = ()
    submit: Annotated[str, _doc("`start`, `rules`, or `auto`: at the start unless a rule submits it")] = "auto"
    member: Annotated[str, _doc("The member that runs it; empty: placed by capability and capacity")] = ""
    nodes: Annotated[int | str, _doc("Nodes; 0 or left out: as the tasks need")] = 0
    tasks: Annotated[int | str, _doc("Tasks the launcher starts; raised to `nodes` when below")] = 1
    cores: Annotated[int | str, _doc("Cores per task")] = 1
    gpus: Annotated[int | str, _doc("GPUs per task")] = 0
    launcher: Annotated[str, _doc("auto, none, mpiexec, srun or flux")] = "auto"
    walltime: Annotated[float | str, _doc("Seconds a job may run; 0: no limit")] = 0.0
    setup: Annotated[str, _doc("Shell lines before the command")] = ""
    cleanup: Annotated[str, _doc("Shell lines after the command")] = ""
    shell: Annotated[bool, _doc("Hand a one-line command to /bin/sh")] = False
    env: Annotated[dict[str, str], _doc("Environment, added to the member's")] = {}
    workdir: Annotated[str, _doc("Where the job runs")] = "{run}/jobs/{key}"
    inputs: Annotated[tuple[FileInput, ...], _doc("Files linked or rendered into the work directory")] = ()
    outputs: Annotated[dict[str, OutputRule], _doc("Figures of merit")] = {}
    valid: Annotated[str, _doc("Expression over figures and duration; false: the job failed")] = ""
    retries: Annotated[RetrySpec, _doc("What follows a failed attempt")] = RetrySpec()
    keep: Annotated[str, _doc("Which work directories stay: all, failed, none")] = "all"
    label: Annotated[str, _doc("A word of yours, shown in tables")] = ""
    max_running: Annotated[int, _doc("At most so many jobs with a member at a time; 0: no limit")] = 0
    exclusive: Annotated[bool, _doc("Nodes are not shared")] = False
    binding: Annotated[str, _doc("Task binding, handed to the launcher: none, core, socket")] = ""
    order: Annotated[str, _doc("listed, random, or blocked: repetitions in rounds, each round shuffled")] = "listed"
    warmup: Annotated[int, _doc("The first jobs of each point that count into no quantity")] = 0
    derived: Annotated[dict[str, str], _doc("Expressions per point, such as speed-up")] = {}
    simulate: Annotated[dict[str, Any], _doc("How long the jobs take in `ensemble simulate`")] = {}
    options: Annotated[dict[str, Scalar], _doc("Options for the member, such as a partition")] = {}


class ActionSpec(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What a rule does."""

    name: Annotated[
        str,
        _doc("The action"),
    ]
    label: Annotated[str, _doc("The group (submit, cancel), the function (custom), the algorithm (switch)")] = ""
    value: Annotated[int | float | None, _doc("Jobs per point, nodes, instances")] = None
    parameters: Annotated[dict[str, Any], _doc("New points for submit")] = {}
    points: tuple[PointValues, ...] = ()
    """The points of `parameters` (made by the loader)."""
    states: Annotated[tuple[str, ...], _doc("Only jobs in these states are cancelled")] = ()
    member: Annotated[str, _doc("The member to grow, shrink or stop; empty: the only one")] = ""
    host: Annotated[str, _doc("The host to avoid; empty: that of the event's job")] = ""
    options: Annotated[dict[str, Any], _doc("Options of a function or an algorithm")] = {}
    rule: Annotated[dict[str, Any] | None, _doc("The rule to add")] = None
    repetitions: Annotated[int, _doc("How often it may fire; `unlimited` is a word")] = 1
    backoff: Annotated[int, _doc("Matches to skip between repetitions")] = 0
    cooldown: Annotated[float, _doc("Seconds between repetitions")] = 0.0


class RuleSpec(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A trigger and an action."""

    trigger: Annotated[str, _doc("start, interval, metric, idle, job-<event>, member-<event>")]
    action: Annotated[ActionSpec, _doc("What is done")]
    name: Annotated[str, _doc("A group (job-*), a metric path (metric), a member (member-*)")] = ""
    when: Annotated[str | float | None, _doc("A number, a comparison, or an expression over metrics")] = None
    seconds: Annotated[float, _doc("Period of an interval")] = 0.0
    for_each: Annotated[str, _doc("One rule per value of this axis")] = ""
    id: Annotated[str, _doc("A name for this rule in explain; default: rule-<place in the file>")] = ""


class LimitsSpec(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """Ceilings of a run; 0 means none. They hold whatever the rules do."""

    jobs: Annotated[int, _doc("Jobs in all")] = 0
    failures: Annotated[int, _doc("Jobs that failed after their last attempt")] = 0
    walltime: Annotated[float, _doc("Seconds the whole ensemble may take")] = 0.0
    node_hours: Annotated[float, _doc("Reserved at submission, settled at the end")] = 0.0
    cost: Annotated[float, _doc("Price x node-hours, in the members' currency")] = 0.0
    on_limit: Annotated[str, _doc("drain: let running jobs finish; cancel: end them")] = "drain"


class LoggingSpec(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What is shown and how often waiting is looked at."""

    debug: Annotated[bool, _doc("Show every event")] = False
    heartbeat: Annotated[float, _doc("Seconds between ticks on which waiting ages; 0: off")] = 0.0


class MemberSpec(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A queue back end. `price` is per node-hour; `currency` is what its text named."""

    kind: Annotated[str, _doc("local, simulated, flux, slurm, ...")] = "local"
    nodes: Annotated[int, _doc("Nodes at the start")] = 1
    min_nodes: Annotated[int, _doc("shrink stops here (`nodes: {min, max}`)")] = 0
    max_nodes: Annotated[int, _doc("grow stops here")] = 0
    cores: Annotated[int, _doc("Cores per node; 0: what the machine has")] = 0
    gpus: Annotated[int, _doc("GPUs per node; virtual nodes of one machine share none")] = 0
    price: Annotated[float, _doc("Per node-hour, as in `0.41 USD/node-hour`")] = 0.0
    currency: str = ""
    options: Annotated[dict[str, Any], _doc("Options of the back end")] = {}


class AlgorithmSpec(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A packaged set of rules. In the file also just its name."""

    name: Annotated[str, _doc("Name of the algorithm")]
    options: Annotated[dict[str, Any], _doc("Its options")] = {}


class EnsembleSpec(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A whole ensemble."""

    name: Annotated[str, _doc("Name; runs are called <name>-<n>")] = "ensemble"
    seed: Annotated[int, _doc("Every random choice follows from it")] = 0
    members: Annotated[dict[str, MemberSpec], _doc("Where jobs run; default: this machine")] = {}
    jobs: Annotated[tuple[GroupSpec, ...], _doc("The groups")] = ()
    rules: Annotated[tuple[RuleSpec, ...], _doc("The rules, in order")] = ()
    algorithm: Annotated[AlgorithmSpec | None, _doc("A packaged set of rules")] = None
    limits: Annotated[LimitsSpec, _doc("Ceilings")] = LimitsSpec()
    logging: Annotated[LoggingSpec, _doc("Output and heartbeat")] = LoggingSpec()
    custom: Annotated[str, _doc("Python source of custom functions, or the path of a .py file")] = ""
    directory: str = ""
    """Where the file lies: inputs and the `.py` of `custom` are relative to it."""
