"""The ensemble file as checked data.

The loader turns a file (or the Python API's objects) into one `EnsembleSpec`; the engine, the members
and the journal see nothing else. Durations are seconds. Text with placeholders stays text until a job
is rendered.

Each field that a file may set has its `Key`: the one place where a key of the file is declared. The reader, the JSON
Schema and the reference follow from it.
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

from msgspec import Struct

from ensemble.model.jobs import REASONS, FileInput, Scalar
from ensemble.spec import keys
from ensemble.spec.keys import (
    BOOLEAN,
    DURATION,
    LIMIT_COUNT,
    LIMIT_NUMBER,
    MAPPING,
    NAME,
    SCALARS,
    TEXT,
    TEXTS,
    Key,
    quantity,
    several,
    whole,
    word,
)
from ensemble.spec.vocabulary import LAUNCHERS, TAKES

UNLIMITED: Final = -1
"""`repetitions: unlimited`."""

EACH_POINT: Final = "point"
"""`for_each: point`: all axes of the group that the rule waits for."""

PointValues = dict[str, Scalar]
"""One point: the value of each axis, in the order of the axes."""


class RetrySpec(Struct, frozen=True, omit_defaults=True):
    """What follows a failed attempt; in the file also a plain number, which is the `limit`."""

    limit: Annotated[int, Key("How many more attempts a job gets.", whole(0))] = 0
    reasons: Annotated[
        tuple[str, ...],
        Key("Only failures for these reasons are retried; by default all are.", several(REASONS, "reason")),
    ] = ()
    delay: Annotated[float, Key("Time before the next attempt.", DURATION)] = 0.0
    elsewhere: Annotated[bool, Key("Whether the next attempt avoids the hosts of the failed one.", BOOLEAN)] = False
    command: Annotated[str, Key("The command of later attempts, where it differs from the first.", TEXT)] = ""


class OutputRule(Struct, frozen=True, omit_defaults=True):
    """How a figure of merit is read from a job's output; in the file also a plain pattern."""

    source: Annotated[
        str,
        Key("Where it is read: `stdout`, `stderr` or a file in the work directory.", TEXT, "from", aliases=("source",)),
    ] = "stdout"
    pattern: Annotated[str, Key("A regular expression whose first group is the number.", TEXT)] = ""
    pointer: Annotated[str, Key("A JSON pointer (RFC 6901) into a JSON file.", TEXT)] = ""
    function: Annotated[str, Key("A function `module:name` that gets the path and returns a number.", TEXT)] = ""
    take: Annotated[str, Key("Which of several matches counts.", word(*TAKES, what="way to take a figure"))] = "last"
    required: Annotated[
        bool, Key("Whether a job without this figure has failed, for the reason `outputs`.", BOOLEAN)
    ] = False


class GroupSpec(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A named template of jobs, which is one entry of `jobs`; several entries may share a name."""

    name: Annotated[str, Key("The name of the group.", NAME)]
    command: Annotated[
        str,
        Key("The program of one task; several lines are a script, one line runs without a shell.", TEXT, needed=True),
    ] = ""
    count: Annotated[int, Key("How many jobs each point gets.", whole(1))] = 1
    parameters: Annotated[dict[str, Any], Key("Axes and their values; each combination is a point.", MAPPING)] = {}
    points: tuple[PointValues, ...] = ({},)
    """Every point, in file order (made by the loader from `parameters`; one empty point without)."""
    axes: tuple[str, ...] = ()
    submit: Annotated[
        str,
        Key(
            "When its jobs are submitted: at the start, by rules, or (`auto`) at the start unless a rule submits them.",
            word("auto", "start", "rules", what="way to submit"),
        ),
    ] = "auto"
    member: Annotated[str, Key("The member that runs its jobs; by default one that has room for them.", TEXT)] = ""
    nodes: Annotated[int | str, Key("Nodes of a job; by default as many as its tasks need.", quantity(0))] = 0
    tasks: Annotated[int | str, Key("Tasks that the launcher starts, at least one on each node.", quantity(1))] = 1
    cores: Annotated[int | str, Key("Cores of each task.", quantity(1))] = 1
    gpus: Annotated[int | str, Key("GPUs of each task.", quantity(0))] = 0
    launcher: Annotated[str, Key("What starts the tasks of a job.", word(*LAUNCHERS, what="launcher"))] = "auto"
    walltime: Annotated[
        float | str,
        Key("How long a job may run; by default there is no limit.", keys.WALLTIME, aliases=("duration",)),
    ] = 0.0
    setup: Annotated[str, Key("Shell lines that run before the command.", TEXT)] = ""
    cleanup: Annotated[str, Key("Shell lines that run after the command.", TEXT)] = ""
    shell: Annotated[
        bool,
        Key("Whether a command of one line is run by /bin/sh too, as pipes and redirections need.", BOOLEAN),
    ] = False
    env: Annotated[
        dict[str, str], Key("Environment variables, in addition to those of the member.", keys.ENVIRONMENT)
    ] = {}
    secret: Annotated[
        tuple[str, ...],
        Key("Environment variables whose values are left out of everything that is saved or pushed.", keys.VARIABLES),
    ] = ()
    workdir: Annotated[str, Key("The directory in which the job runs.", TEXT)] = "{run}/jobs/{key}"
    inputs: Annotated[
        tuple[FileInput, ...], Key("Files that are linked or rendered into the work directory.", keys.INPUTS)
    ] = ()
    outputs: Annotated[
        dict[str, OutputRule], Key("Figures of merit, which are read when a job has ended.", keys.OUTPUTS)
    ] = {}
    valid: Annotated[
        str, Key("A condition over the figures and the duration; where it is false, the job has failed.", TEXT)
    ] = ""
    retries: Annotated[RetrySpec, Key("What follows a failed attempt.", keys.RETRIES)] = RetrySpec()
    keep: Annotated[str, Key("Which work directories are kept.", word("all", "failed", "none", what="way to keep"))] = (
        "all"
    )
    label: Annotated[str, Key("A word of your own, which tables show.", TEXT)] = ""
    max_running: Annotated[int, Key("The most jobs of the group that are with a member at a time.", whole(1))] = 0
    exclusive: Annotated[bool, Key("Whether a job shares its nodes with no other.", BOOLEAN)] = False
    binding: Annotated[
        str, Key("How tasks are bound to cores by the launcher.", word("none", "core", "socket", what="binding"))
    ] = ""
    order: Annotated[
        str,
        Key(
            "The order of the jobs: as listed, at random, or blocked (repetitions in rounds, each in random order).",
            word("listed", "random", "blocked", what="order"),
        ),
    ] = "listed"
    warmup: Annotated[int, Key("How many first jobs of each point count into no statistics.", whole(0))] = 0
    derived: Annotated[dict[str, str], Key("Expressions for each point, such as a speed-up.", TEXTS)] = {}
    simulate: Annotated[dict[str, Any], Key("How long its jobs take in `ensemble simulate`.", MAPPING)] = {}
    options: Annotated[dict[str, Scalar], Key("Options for the member, such as a partition.", SCALARS)] = {}


class ActionSpec(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What a rule does."""

    name: Annotated[str, Key("What is done.", keys.ACTION_NAME)]
    label: Annotated[
        str,
        Key(
            "The group (`submit`, `cancel`), function (`custom`) or algorithm (`switch-algorithm`) it is about.",
            TEXT,
        ),
    ] = ""
    value: Annotated[int | float | None, Key("How many jobs for each point, or nodes.", keys.NUMBER_ABOVE_ZERO)] = None
    parameters: Annotated[dict[str, Any], Key("New points for `submit`, written as in a group.", MAPPING)] = {}
    points: tuple[PointValues, ...] = ()
    """The points of `parameters` (made by the loader)."""
    states: Annotated[tuple[str, ...], Key("Only jobs in these states are cancelled.", keys.JOB_STATES)] = ()
    member: Annotated[str, Key("The member that grows, shrinks or stops; by default the only one.", TEXT)] = ""
    host: Annotated[str, Key("The host to avoid; by default that of the event's job.", TEXT)] = ""
    options: Annotated[dict[str, Any], Key("Options of a function or an algorithm.", MAPPING)] = {}
    rule: Annotated[dict[str, Any] | None, Key("The rule that `add-rule` adds.", keys.ADDED_RULE)] = None
    concurrency: Annotated[
        int, Key("How many calls of the function may be under way at once; with 1 they are made in order.", whole(1))
    ] = 1
    on_error: Annotated[
        str,
        Key(
            "What follows when the function fails: `fail` ends the run as `failed`, `ignore` only notes it.",
            word("fail", "ignore", what="way to take a failure"),
        ),
    ] = "fail"
    repetitions: Annotated[int, Key("How many times the rule may fire.", keys.REPETITIONS)] = 1
    backoff: Annotated[int, Key("How many matches are skipped between two firings.", whole(0))] = 0
    cooldown: Annotated[float, Key("The shortest time between two firings.", DURATION)] = 0.0


class RuleSpec(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A trigger and an action."""

    trigger: Annotated[str, Key("What the rule waits for.", keys.TRIGGER)]
    action: Annotated[ActionSpec, Key("What is done then.", keys.ACTION)]
    name: Annotated[
        str, Key("The group (`job-*`), the metric path (`metric`) or the member (`member-*`) it is about.", TEXT)
    ] = ""
    when: Annotated[
        str | float | None, Key("A number, a comparison, or an expression over metrics.", keys.CONDITION)
    ] = None
    seconds: Annotated[float, Key("The period of an `interval`.", keys.PERIOD)] = 0.0
    for_each: Annotated[
        str | tuple[str, ...],
        Key("The rule exists once for each value of this axis, combination of these axes, or `point`.", keys.AXES),
    ] = ""
    id: Annotated[str, Key("The name of the rule in `explain`; by default `rule-<its number in the file>`.", TEXT)] = ""


class LimitsSpec(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """Ceilings of a run, which hold whatever the rules do."""

    jobs: Annotated[int, Key("The most jobs in all.", LIMIT_COUNT)] = 0
    failures: Annotated[int, Key("The most jobs that fail after their last attempt.", LIMIT_COUNT)] = 0
    walltime: Annotated[float, Key("The longest that the whole ensemble may take.", keys.LIMIT_DURATION)] = 0.0
    node_hours: Annotated[
        float, Key("The most node-hours; they are reserved at submission and settled at the end.", LIMIT_NUMBER)
    ] = 0.0
    cost: Annotated[float, Key("The most that may be spent, in the currency of the members' prices.", LIMIT_NUMBER)] = (
        0.0
    )
    on_limit: Annotated[
        str,
        Key(
            "What happens at a limit: `drain` lets running jobs finish, `cancel` ends them.",
            word("drain", "cancel", what="way to end at a limit"),
        ),
    ] = "drain"


class LoggingSpec(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What is shown, and how often the age of waiting jobs is looked at."""

    debug: Annotated[bool, Key("Whether every event is shown.", BOOLEAN)] = False
    heartbeat: Annotated[
        float,
        Key("The time between two looks at the age of waiting jobs; 0 turns them off.", DURATION),
    ] = 0.0


class MemberSpec(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A queue back end, on which jobs run."""

    kind: Annotated[str, Key("The kind of member, such as local, flux or slurm; by default its name.", TEXT)] = "local"
    nodes: Annotated[int, Key("Nodes at the start, or the range in which rules may change them.", keys.SIZES)] = 1
    min_nodes: Annotated[int, Key("The fewest nodes that `shrink` leaves.", whole(0))] = 0
    max_nodes: Annotated[int, Key("The most nodes that `grow` reaches.", whole(0))] = 0
    cores: Annotated[int, Key("Cores of each node; 0 means what the machine has.", whole(0))] = 0
    gpus: Annotated[int, Key("GPUs of each node; virtual nodes of one machine share none.", whole(0))] = 0
    price: Annotated[float, Key("The price of a node-hour, such as `0.41 USD/node-hour`.", keys.PRICE)] = 0.0
    currency: str = ""
    """What the text of `price` named."""
    options: Annotated[dict[str, Any], Key("Options of this kind of member.", MAPPING)] = {}


class AlgorithmSpec(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A packaged set of rules; in the file also just its name."""

    name: Annotated[str, Key("The name of the algorithm.", TEXT)]
    options: Annotated[dict[str, Any], Key("Its options.", MAPPING)] = {}


class EnsembleSpec(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A whole ensemble."""

    name: Annotated[str, Key("The name; runs are called `<name>-<n>`.", NAME)] = "ensemble"
    seed: Annotated[int, Key("The number from which every random choice follows.", whole(0))] = 0
    members: Annotated[dict[str, MemberSpec], Key("Where jobs run; by default on this machine.", keys.MEMBERS)] = {}
    jobs: Annotated[tuple[GroupSpec, ...], Key("The groups of jobs.", keys.JOBS, needed=True)] = ()
    rules: Annotated[tuple[RuleSpec, ...], Key("The rules, in the order in which they are tried.", keys.RULES)] = ()
    algorithm: Annotated[AlgorithmSpec | None, Key("A packaged set of rules.", keys.ALGORITHM)] = None
    limits: Annotated[LimitsSpec, Key("Ceilings that no rule can exceed.", keys.LIMITS)] = LimitsSpec()
    logging: Annotated[LoggingSpec, Key("What is shown, and the heartbeat.", keys.LOGGING)] = LoggingSpec()
    custom: Annotated[str, Key("Python source of custom functions, or the path of a .py file.", TEXT)] = ""
    directory: str = ""
    """Where the file is: inputs and the `.py` of `custom` are relative to it."""

    @property
    def currency(self) -> str:
        """The currency of its prices; empty where none is named."""
        return next((member.currency for member in self.members.values() if member.currency), "")
