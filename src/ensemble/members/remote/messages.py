"""Translation between the types of the member contract and the messages of a session."""

from __future__ import annotations

__all__ = [
    "error_from",
    "error_to",
    "hello_from",
    "keyed",
    "keyed_from",
    "opened_to",
    "page_from",
    "page_parts",
    "receipts_from",
    "receipts_to",
]

from collections.abc import Iterable, Iterator, Sequence

from ensemble.members.contract import Accepted, Hello, InventoryItem, Page, Receipt, Refused, Unknown
from ensemble.model.errors import EnsembleError, MemberError, MemberUnavailable
from ensemble.model.jobs import AttemptRef
from ensemble.session import convert
from ensemble.session.limits import BATCH_BYTES
from ensemble.session.v1 import model_pb2 as model
from ensemble.session.v1 import session_pb2 as pb

REASON_CHARACTERS = 2000
"""A reason or text beyond this is cut: 512 of them must fit into a message."""


def keyed(refs: Iterable[AttemptRef]) -> list[model.KeyedAttempt]:
    """Attempts of the session's run."""
    return [model.KeyedAttempt(key=ref.key, attempt=ref.attempt) for ref in refs]


def keyed_from(messages: Iterable[model.KeyedAttempt], run: str) -> list[AttemptRef]:
    """Attempts of a run."""
    return [AttemptRef(run, one.key, one.attempt) for one in messages]


def receipts_to(receipts: Sequence[Receipt]) -> pb.Receipts:
    """What the queue made of each."""
    return pb.Receipts(receipts=[_receipt(one) for one in receipts])


def _receipt(receipt: Receipt) -> pb.Receipt:
    if isinstance(receipt, Accepted):
        return pb.Receipt(accepted=pb.Accepted(native_id=receipt.native_id))
    reason = short(receipt.reason)
    if isinstance(receipt, Refused):
        return pb.Receipt(refused=pb.Refused(reason=reason, transient=receipt.transient))
    return pb.Receipt(unknown=pb.Unknown(reason=reason))


def receipts_from(message: pb.Receipts) -> list[Receipt]:
    """What the queue made of each."""
    found: list[Receipt] = []
    for one in message.receipts:
        kind = one.WhichOneof("kind")
        if kind == "accepted":
            found.append(Accepted(one.accepted.native_id))
        elif kind == "refused":
            found.append(Refused(one.refused.reason, one.refused.transient))
        else:
            found.append(Unknown(one.unknown.reason))
    return found


def opened_to(hello: Hello, sequence: int, text: str) -> pb.Opened:
    """A member's hello; `sequence`: the number before the first event."""
    message = pb.Opened(
        capabilities=sorted(hello.capabilities),
        stream=hello.stream,
        cores_per_node=hello.cores_per_node,
        text=short(text),
        sequence=sequence,
    )
    convert.sizes_to_message(hello, message)
    return message


def hello_from(message: pb.Opened) -> Hello:
    """A member's hello."""
    return Hello(
        frozenset(message.capabilities),
        message.stream,
        cores_per_node=message.cores_per_node,
        text=message.text,
        **convert.sizes_from_message(message),
    )


def page_parts(page: Page) -> Iterator[pb.InventoryPage]:
    """A page in parts that fit into a message."""
    part, size = pb.InventoryPage(), 0
    for item in page.items:
        message = pb.InventoryItem(
            ref=convert.ref_to_message(item.ref),
            state=convert.STATE_NUMBERS.get(item.state, 0),  # type: ignore[arg-type]
            native_id=item.native_id,
            event=convert.job_event_to_message(item.event) if item.event is not None else None,
        )
        more = message.ByteSize()
        if size and size + more > BATCH_BYTES:
            yield part
            part, size = pb.InventoryPage(), 0
        part.items.append(message)
        size += more + 8
    part.last, part.complete, part.text = page.last, page.complete, short(page.text)
    yield part


def page_from(message: pb.InventoryPage, member: str, run: str) -> Page:
    """Part of an inventory. Raises `MemberError` when it names a job of another run."""
    items = []
    for one in message.items:
        if one.ref.run != run:
            raise MemberError(f"the inventory of run {run} names {one.ref.run}/{one.ref.key}: the agent is confused")
        state = convert.STATE_NAMES[one.state] if one.state < len(convert.STATE_NAMES) else ""
        event = convert.job_event_from_message(one.event, member) if one.HasField("event") else None
        items.append(InventoryItem(convert.ref_from_message(one.ref), state, one.native_id, event))
    return Page(tuple(items), message.last, message.complete, message.text)


def error_to(error: Exception) -> pb.CommandError:
    """Why a command failed."""
    if isinstance(error, MemberError):
        unavailable = isinstance(error, MemberUnavailable)
        return pb.CommandError(text=short(str(error)), transient=error.transient, unavailable=unavailable)
    if isinstance(error, EnsembleError):
        return pb.CommandError(text=short(str(error)))
    return pb.CommandError(text=short(f"{type(error).__name__}: {error}"), fault=True)


def error_from(message: pb.CommandError) -> Exception:
    """What to raise here for what was raised there."""
    if message.fault:
        return RuntimeError(f"at the agent: {message.text}")
    if message.unavailable:
        return MemberUnavailable(message.text, message.transient)
    return MemberError(message.text, message.transient)


def short(text: str) -> str:
    """Text that UTF-8 and a message can hold."""
    text = text.encode(errors="replace").decode()
    return text if len(text) <= REASON_CHARACTERS else f"{text[:REASON_CHARACTERS]} ..."
