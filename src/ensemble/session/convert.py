"""Between the frozen structs of `model` and the messages of `ensemble.v1`, losing nothing there and back."""

from __future__ import annotations

__all__ = [
    "add_events",
    "event_from_message",
    "event_to_message",
    "events_of",
    "map_from_message",
    "map_to_message",
    "ref_from_message",
    "ref_to_message",
    "spec_from_message",
    "spec_to_message",
]

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from ensemble.model.events import JobEvent, MemberEvent, NativeEvent
from ensemble.model.jobs import OUTCOMES, STATES, AttemptRef, FileInput, JobSpec, OutputSpec, Resources, Scalar
from ensemble.session.v1 import model_pb2 as pb
from ensemble.session.v1 import session_pb2 as session

SourceEvent = JobEvent | NativeEvent | MemberEvent

STATE_NAMES: Final = ("", *STATES)
"""Names of states by their number in `JobState`."""

OUTCOME_NAMES: Final = ("", *OUTCOMES)
"""Names of outcomes by their number in `JobOutcome`."""

STATE_NUMBERS: Final = {name: number for number, name in enumerate(STATE_NAMES)}
_OUTCOME_NUMBERS: Final = {name: number for number, name in enumerate(OUTCOME_NAMES)}
_QUEUE: Final = ("new", "depend", "priority", "sched", "run", "cleanup", "inactive")
SIZES: Final = ("nodes_up", "nodes_free", "cores_up", "cores_free", "gpus_up")
"""The fields that give the size of a member; -1 where it is not reported."""
_WORD: Final = 1 << 63


# ---- values ------------------------------------------------------------------------------------------


def value_to_message(value: Any) -> pb.Value:
    """Plain data as a message. Raises `TypeError` for what is none."""
    if value is None:
        return pb.Value()
    if isinstance(value, bool):
        return pb.Value(boolean=value)
    if isinstance(value, int):
        return pb.Value(integer=value) if -_WORD <= value < _WORD else pb.Value(big_integer=str(value))
    if isinstance(value, float):
        return pb.Value(number=value)
    if isinstance(value, str):
        return pb.Value(text=_text(value))
    if isinstance(value, Mapping):
        return pb.Value(map=map_to_message(value))
    if isinstance(value, list | tuple):
        return pb.Value(list=pb.ValueList(values=[value_to_message(one) for one in value]))
    raise TypeError(f"{type(value).__name__} is no plain data")


def value_from_message(message: pb.Value) -> Any:
    """What `value_to_message` was given, with lists for tuples."""
    kind = message.WhichOneof("kind")
    if kind is None:
        return None
    if kind == "map":
        return map_from_message(message.map)
    if kind == "list":
        return [value_from_message(one) for one in message.list.values]
    if kind == "big_integer":
        return int(message.big_integer)
    return getattr(message, kind)


def named_to_messages(values: Mapping[str, Any]) -> list[pb.NamedValue]:
    """Named values, in their order."""
    return [pb.NamedValue(name=_text(name), value=value_to_message(value)) for name, value in values.items()]


def named_from_messages(messages: Iterable[pb.NamedValue]) -> dict[str, Any]:
    """Named values, in their order."""
    return {one.name: value_from_message(one.value) for one in messages}


def map_to_message(values: Mapping[str, Any]) -> pb.ValueMap:
    """Plain data as a message."""
    return pb.ValueMap(entries=named_to_messages(values))


def map_from_message(message: pb.ValueMap) -> dict[str, Any]:
    """Plain data of a message."""
    return named_from_messages(message.entries)


def _text(text: str) -> str:
    """Text that UTF-8 can hold: output of jobs may hold anything."""
    return text if text.isascii() else text.encode(errors="replace").decode()


# ---- refs and specs ----------------------------------------------------------------------------------


def ref_to_message(ref: AttemptRef) -> pb.AttemptRef:
    """The identity of an attempt."""
    return pb.AttemptRef(run=ref.run, key=ref.key, attempt=ref.attempt)


def ref_from_message(message: pb.AttemptRef) -> AttemptRef:
    """The identity of an attempt."""
    return AttemptRef(message.run, message.key, message.attempt)


def spec_to_message(spec: JobSpec) -> pb.JobSpec:
    """A job's full description."""
    need = spec.resources
    message = pb.JobSpec(
        ref=ref_to_message(spec.ref),
        group=spec.group,
        workdir=spec.workdir,
        command=spec.command,
        script=spec.script,
        launcher=spec.launcher,
        walltime=spec.walltime,
        env=spec.env,
        stdout=spec.stdout,
        stderr=spec.stderr,
        setup=spec.setup,
        cleanup=spec.cleanup,
        keep=spec.keep,
        avoid=spec.avoid,
        resources=pb.Resources(
            nodes=need.nodes,
            tasks=need.tasks,
            cores=need.cores,
            gpus=need.gpus,
            exclusive=need.exclusive,
            binding=need.binding,
        ),
    )
    if spec.inputs:
        message.inputs.extend(
            pb.FileInput(to=one.to, path=one.path) if one.text is None else pb.FileInput(to=one.to, text=one.text)
            for one in spec.inputs
        )
    if spec.outputs:
        message.outputs.extend(map(_output_to_message, spec.outputs))
    if spec.point:
        message.point.extend(named_to_messages(spec.point))
    if spec.duration:
        message.duration.CopyFrom(map_to_message(spec.duration))
    if spec.options:
        message.options.CopyFrom(map_to_message(spec.options))
    return message


def _output_to_message(output: OutputSpec) -> pb.OutputSpec:
    message = pb.OutputSpec(name=output.name, source=output.source, take=output.take, required=output.required)
    for way in ("pattern", "pointer", "function"):
        if getattr(output, way):
            setattr(message, way, getattr(output, way))
    return message


def spec_from_message(message: pb.JobSpec) -> JobSpec:
    """A job's full description."""
    need = message.resources
    return JobSpec(
        ref=ref_from_message(message.ref),
        group=message.group,
        workdir=message.workdir,
        command=tuple(message.command),
        script=message.script,
        resources=Resources(need.nodes, need.tasks, need.cores, need.gpus, need.exclusive, need.binding),
        launcher=message.launcher,
        walltime=message.walltime,
        env=dict(message.env),
        setup=message.setup,
        cleanup=message.cleanup,
        inputs=tuple(
            FileInput(one.to, one.path, one.text if one.WhichOneof("source") == "text" else None)
            for one in message.inputs
        ),
        outputs=tuple(
            OutputSpec(one.name, one.source, one.pattern, one.pointer, one.function, one.take, one.required)
            for one in message.outputs
        ),
        stdout=message.stdout,
        stderr=message.stderr,
        keep=message.keep,
        point=_scalars(message.point),
        avoid=tuple(message.avoid),
        duration=map_from_message(message.duration),
        options=_scalars(message.options.entries),
    )


def _scalars(messages: Iterable[pb.NamedValue]) -> dict[str, Scalar]:
    return named_from_messages(messages)


# ---- events ------------------------------------------------------------------------------------------


def job_event_to_message(event: JobEvent) -> pb.JobEvent:
    """What happened to a job."""
    message = pb.JobEvent()
    _fill_job(message, event)
    return message


def _fill_job(message: pb.JobEvent, event: JobEvent) -> None:
    # field by field into a message that is in its place: a quarter of the time of a constructor and a copy
    message.key = event.key
    message.state = STATE_NUMBERS.get(event.state, 0)  # type: ignore[assignment]
    message.time = event.time
    message.n = event.n
    message.attempt = event.attempt
    # most events say no more than that
    if event.outcome:
        message.outcome = _OUTCOME_NUMBERS.get(event.outcome, 0)  # type: ignore[assignment]
    if event.exit_code >= 0:
        message.exit_code = event.exit_code
    if event.start:
        message.start = event.start
    if event.reason:
        message.reason = event.reason
    if event.signal:
        message.signal = event.signal
    if event.figures:
        message.figures.update(event.figures)
    if event.missing:
        message.missing.extend(event.missing)
    if event.native_id:
        message.native_id = event.native_id
    if event.hosts:
        message.hosts = event.hosts
    if event.incarnation:
        message.incarnation = event.incarnation
    if event.text:
        message.text = _text(event.text)


def job_event_from_message(message: pb.JobEvent, member: str) -> JobEvent:
    """What happened to a job of that member."""
    state = message.state
    name = STATE_NAMES[state] if 0 <= state < len(STATE_NAMES) else ""
    if name != "inactive":
        return JobEvent(
            member,
            message.key,
            name,
            message.time,
            message.n,
            message.attempt,
            message.incarnation,
            "",
            "",
            -1,
            0,
            message.start,
            None,
            (),
            message.native_id,
            message.hosts,
            message.text,
        )
    outcome = message.outcome
    return JobEvent(
        member,
        message.key,
        name,
        message.time,
        message.n,
        message.attempt,
        message.incarnation,
        OUTCOME_NAMES[outcome] if 0 <= outcome < len(OUTCOME_NAMES) else "",
        message.reason,
        message.exit_code if message.HasField("exit_code") else -1,
        message.signal,
        message.start,
        dict(message.figures) or None,
        tuple(message.missing),
        message.native_id,
        message.hosts,
        message.text,
    )


def event_to_message(event: SourceEvent) -> pb.SourceEvent:
    """What a member said."""
    message = pb.SourceEvent()
    _fill(message, event)
    return message


def _fill(message: pb.SourceEvent, event: SourceEvent) -> None:
    if isinstance(event, JobEvent):
        _fill_job(message.job, event)
    elif isinstance(event, NativeEvent):
        native = pb.NativeEvent(key=event.key, name=event.name, time=event.time, n=event.n, attempt=event.attempt)
        if event.data:
            native.data.CopyFrom(map_to_message(event.data))
        message.native.CopyFrom(native)
    else:
        message.member.CopyFrom(member_event_to_message(event))


def member_event_to_message(event: MemberEvent) -> pb.MemberEvent:
    """What happened to a member."""
    message = pb.MemberEvent(
        name=event.name,
        time=event.time,
        n=event.n,
        stream=event.stream,
        cores_per_node=event.cores_per_node,
        capabilities=event.capabilities,
        gone=[pb.KeyedAttempt(key=key, attempt=attempt) for key, attempt in event.gone],
        unsent=[pb.KeyedAttempt(key=key, attempt=attempt) for key, attempt in event.unsent],
        text=_text(event.text),
    )
    for name in SIZES:
        if getattr(event, name) >= 0:
            setattr(message, name, getattr(event, name))
    if event.queue is not None:
        message.queue.CopyFrom(queue_to_message(event.queue))
    if event.nodes_wanted >= 0:
        message.nodes_wanted = event.nodes_wanted
    if event.waiting is not None:
        message.waiting.SetInParent()
        message.waiting.reasons.update({_text(reason): count for reason, count in event.waiting.items()})
    return message


def event_from_message(message: pb.SourceEvent, member: str) -> SourceEvent:
    """What a member of that name said. Raises `ValueError` for an event of no known kind."""
    if message.HasField("job"):  # nearly always, and cheaper than to ask for the kind
        return job_event_from_message(message.job, member)
    kind = message.WhichOneof("kind")
    if kind == "native":
        one = message.native
        return NativeEvent(member, one.key, one.name, one.time, one.n, one.attempt, map_from_message(one.data))
    if kind == "member":
        return _member_event(message.member, member)
    raise ValueError("an event of a kind that is not known here")


def _member_event(message: pb.MemberEvent, member: str) -> MemberEvent:
    return MemberEvent(
        member,
        message.name,
        message.time,
        message.n,
        message.stream,
        cores_per_node=message.cores_per_node,
        capabilities=tuple(message.capabilities),
        gone=tuple((one.key, one.attempt) for one in message.gone),
        unsent=tuple((one.key, one.attempt) for one in message.unsent),
        queue=queue_from_message(message.queue) if message.HasField("queue") else None,
        text=message.text,
        nodes_wanted=message.nodes_wanted if message.HasField("nodes_wanted") else -1,
        waiting=dict(message.waiting.reasons) if message.HasField("waiting") else None,
        **sizes_from_message(message),
    )


def sizes_from_message(message: Any) -> dict[str, int]:
    """The counts of a message that has them; -1 where it does not say."""
    return {name: getattr(message, name) if message.HasField(name) else -1 for name in SIZES}


def sizes_to_message(source: Any, message: Any) -> None:
    """Set the counts that are known."""
    for name in SIZES:
        if getattr(source, name) >= 0:
            setattr(message, name, getattr(source, name))


def queue_to_message(queue: Mapping[str, int]) -> pb.QueueCounts:
    """Jobs per state of a queue."""
    message = pb.QueueCounts()
    for name in _QUEUE:
        setattr(message, name, queue.get(name, 0))
    message.other.update({name: count for name, count in queue.items() if name not in _QUEUE})
    return message


def queue_from_message(message: pb.QueueCounts) -> dict[str, int]:
    """Jobs per state of a queue."""
    return {**{name: getattr(message, name) for name in _QUEUE}, **dict(message.other)}


def add_events(batch: session.EventBatch, events: Sequence[SourceEvent]) -> None:
    """Add events to a batch."""
    add = batch.events.add
    for event in events:
        _fill(add(), event)


def events_of(messages: Iterable[pb.SourceEvent], member: str) -> list[SourceEvent]:
    """Events of messages. Raises `ValueError` for one of no known kind."""
    return [event_from_message(message, member) for message in messages]
