"""Records, statuses and explanations as messages of `ensemble.v1` and back, by the names of their fields."""

from __future__ import annotations

__all__ = ["TAGS", "message_to_plain", "record_from_message", "record_to_message", "struct_to_message"]

from typing import Any, Final

import msgspec

from ensemble.model.decisions import Record
from ensemble.session import convert
from ensemble.session.v1 import record_pb2

TAGS: Final = {
    "stop-member": "stop_member",
    "add-rule": "add_rule",
    "switch": "switch_algorithm",
    "call-waits": "call_waits",
    "drop-calls": "drop_calls",
}
"""Tags in the journal and the fields of the proto for them, where these differ."""
_NAMES: Final = {name: tag for tag, name in TAGS.items()}
_ARRAYS: Final = {"KeyedAttempt", "MemberSize", "RefusedAttempt", "Span"}
"""Tuples and arrays in the journal, their fields in the same order."""
_FROM_MEMBER: Final = {"job", "native", "member"}


def record_to_message(record: Record) -> record_pb2.Record:
    """A record of the journal."""
    message = record_pb2.Record()
    struct_to_message(record, message)
    return message


def record_from_message(message: record_pb2.Record) -> Record:
    """A record of the journal."""
    return msgspec.convert(message_to_plain(message), Record)


def struct_to_message(source: Any, message: Any) -> None:
    """Set the fields of a message from what has attributes of their names; unknown ones (None, -1) stay absent."""
    for field in message.DESCRIPTOR.fields:
        if field.message_type is not None and field.containing_oneof is not None:
            continue
        value = getattr(source, field.name, None)
        if value is not None:
            _set(message, field, value)


def _set(message: Any, field: Any, value: Any) -> None:
    place = getattr(message, field.name)
    kind = field.message_type.name if field.message_type is not None else ""
    if field.is_repeated and field.message_type is not None and field.message_type.GetOptions().map_entry:
        if field.message_type.fields_by_name["value"].message_type is None:
            place.update(value)
        else:
            for name, one in value.items():
                struct_to_message(one, place[name])
    elif field.is_repeated and kind == "NamedValue":
        place.extend(convert.named_to_messages(value))
    elif field.is_repeated and kind == "ReadValue":
        for name, one in value.items():
            place.add(name=name, value=one)
    elif field.is_repeated and kind:
        for one in value:
            _fill(place.add(), one)
    elif field.is_repeated:
        place.extend(value)
    elif kind:
        _fill(place, value)
    elif not (field.has_presence and value == -1):
        setattr(message, field.name, value)


def _fill(message: Any, value: Any) -> None:
    """A message inside another: plain data, a tuple, one of several kinds, or a struct."""
    descriptor = message.DESCRIPTOR
    if descriptor.name == "ValueMap":
        message.SetInParent()
        message.CopyFrom(convert.map_to_message(value))
    elif isinstance(value, tuple):
        for field, one in zip(descriptor.fields, value, strict=True):
            setattr(message, field.name, one)
    elif "kind" in descriptor.oneofs_by_name:
        _fill_kind(message, value)
    else:
        message.SetInParent()
        struct_to_message(value, message)


def _fill_kind(message: Any, value: Any) -> None:
    tag = str(value.__struct_config__.tag)
    name = TAGS.get(tag, tag)
    inner = getattr(message, name)
    inner.SetInParent()
    if message.DESCRIPTOR.name == "Event" and name in _FROM_MEMBER:
        inner.member = value.member
        inner.event.CopyFrom(getattr(convert.event_to_message(value), name))
    else:
        struct_to_message(value, inner)


def message_to_plain(message: Any) -> Any:
    """The plain data of a message: every field that is not absent, kinds as tags."""
    descriptor = message.DESCRIPTOR
    if descriptor.name == "ValueMap":
        return convert.map_from_message(message)
    if descriptor.name in _ARRAYS:
        return tuple(getattr(message, field.name) for field in descriptor.fields)
    if "kind" in descriptor.oneofs_by_name:
        return _plain_kind(message)
    return {
        field.name: _plain(field, getattr(message, field.name))
        for field in descriptor.fields
        if not field.has_presence or message.HasField(field.name)
    }


def _plain(field: Any, value: Any) -> Any:
    kind = field.message_type.name if field.message_type is not None else ""
    if field.is_repeated and kind and field.message_type.GetOptions().map_entry:
        if field.message_type.fields_by_name["value"].message_type is None:
            return dict(value)
        unknown = {"mean": None, "ci95": None, "min": None, "max": None}
        return {name: unknown | message_to_plain(value[name]) for name in value}
    if field.is_repeated and kind == "NamedValue":
        return convert.named_from_messages(value)
    if field.is_repeated and kind == "ReadValue":
        return {one.name: one.value if one.HasField("value") else None for one in value}
    if field.is_repeated and kind:
        return [message_to_plain(one) for one in value]
    if field.is_repeated:
        return list(value)
    return message_to_plain(value) if kind else value


def _plain_kind(message: Any) -> Any:
    name = message.WhichOneof("kind")
    inner = getattr(message, name)
    if message.DESCRIPTOR.name == "Event" and name in _FROM_MEMBER:
        from ensemble.session.v1 import model_pb2

        source = model_pb2.SourceEvent()
        getattr(source, name).CopyFrom(inner.event)
        return {"type": name, **msgspec.to_builtins(convert.event_from_message(source, inner.member))}
    plain = {**message_to_plain(inner), "type": _NAMES.get(name, name)}
    if name == "create" and not plain["values"]:
        del plain["values"]  # a point that was known
    return plain
