"""The only thread that uses the handle of a Flux broker."""

from __future__ import annotations

__all__ = ["Broker", "FluxError"]

import asyncio
import contextlib
import json
import os
import threading
from collections import deque
from collections.abc import Callable, Sequence
from importlib import import_module
from secrets import token_hex
from typing import Any, ClassVar, Final

import msgspec

from ensemble.members.flux.bindings import load
from ensemble.members.flux.calls import Asked
from ensemble.members.flux.entries import Entry
from ensemble.model.errors import MemberError

OPEN_SECONDS: Final = 30.0
CALL_SECONDS: Final = 60.0

_MARK_KEY: Final = "ensemble.instance"
_MARK_BYTES: Final = 8
_NO_STATE: Final = 1000
_ENDING: Final = ("cleanup", "shutdown", "finalize", "goodbye", "exit")
"""States of a broker in which it runs no more jobs; in the first it cancels those that run."""
_NAMESPACE: Final = "primary"
"""Of the key-value store: an engine that is itself a job has its own by default."""


class FluxError(MemberError):
    """Flux answered with an error; `number` is its errno."""

    def __init__(self, message: str, number: int = 0, transient: bool = False) -> None:
        super().__init__(message, transient=transient)
        self.number = number


_ENTRY: Final = msgspec.json.Decoder(Entry)


class Broker:
    """A connection. What it calls is called on the event loop: `received` with the entries of the journal, in order;
    `lost` once, when the broker is gone; `resources` when nodes came or went; `ending` when the instance begins to end.
    """

    def __init__(
        self,
        uri: str,
        received: Callable[[list[Entry]], None],
        lost: Callable[[str], None],
        resources: Callable[[], None] = lambda: None,
        ending: Callable[[], None] = lambda: None,
    ) -> None:
        self._uri, self._received, self._lost, self._resources, self._ending = uri, received, lost, resources, ending
        self._loop = asyncio.get_running_loop()
        self._opened: asyncio.Future[None] = self._loop.create_future()
        self._calls: deque[Callable[[], None]] = deque()
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._out: list[tuple[Callable[..., None], tuple[Any, ...]]] = []
        self._entries: list[Entry] = []
        self._pending: set[asyncio.Future[Any]] = set()
        self._stopping = False
        self._gone = ""
        self.mark = ""
        """Known by every connection to this instance, and by none to another."""
        self._hosts: frozenset[str] | None = None
        """The instance's hosts, up or not; None: not known."""
        self._thread = threading.Thread(target=self._run, name="flux", daemon=True)
        self._guard = threading.Lock()

    # ---- on the event loop ---------------------------------------------------------------------------

    async def open(self) -> None:
        """Connect and ask for the journal. Raises `MemberError`."""
        self.flux = await asyncio.to_thread(load)
        self._thread.start()
        try:
            async with asyncio.timeout(OPEN_SECONDS):
                await self._opened
        except TimeoutError:
            self._stop()
            raise MemberError(f"the Flux broker did not answer within {OPEN_SECONDS:g} s", transient=True) from None

    async def call(self, asked: Asked, seconds: float = CALL_SECONDS) -> Any:
        """Ask, and return the answer as read. Raises `FluxError` for an error that Flux answers, and
        `MemberError(transient=True)` when there is no answer within `seconds`."""
        (found,) = await self.calls([asked], seconds)
        if isinstance(found, MemberError):
            raise found
        return found

    async def calls(self, asked: list[Asked], seconds: float = CALL_SECONDS) -> list[Any]:
        """Send many requests at once; return an answer or a `MemberError` for each, in order. Raises as `call`."""
        if self._gone:
            raise MemberError(self._gone, transient=True)
        futures: list[asyncio.Future[Any]] = [self._loop.create_future() for _ in asked]
        self._pending.update(futures)
        try:
            self._post(lambda: self._begin(asked, futures))
            async with asyncio.timeout(seconds):
                return list(await asyncio.gather(*futures))
        except TimeoutError:
            raise MemberError(f"the Flux broker did not answer within {seconds:g} s", transient=True) from None
        finally:
            self._pending.difference_update(futures)

    def named(self, number: int) -> str:
        """A job's id as people write it (RFC 19, F58), in ASCII."""
        return str(self.flux.job.JobID(number).f58plain)

    def constraint(self, text: str) -> Any:
        """The constraint (RFC 31) that `requires` of `flux submit` would make. Raises `MemberError`."""
        parsing = import_module("flux.constraint.parser")

        class Requires(parsing.ConstraintParser):  # type: ignore[misc, name-defined]
            operator_map: ClassVar = {None: "properties", "host": "hostlist", "hosts": "hostlist", "rank": "ranks"}
            split_values: ClassVar = {"properties": ","}
            combined_terms: ClassVar = {"properties"}

        try:
            return Requires().parse(text)
        except Exception as error:
            raise MemberError(f"requires {text!r}: {error}") from error

    def known_hosts(self, hosts: Sequence[str]) -> str:
        """Those of them that the instance has, as a hostlist (RFC 29): it takes no job that names another."""
        hostlist = import_module("flux.hostlist")
        found: list[str] = []
        for some in hosts:
            with contextlib.suppress(ValueError, OSError):  # what is no hostlist is no host either
                found += hostlist.decode(some)
        known = [host for host in dict.fromkeys(found) if self._hosts is None or host in self._hosts]
        return str(hostlist.Hostlist(known).encode())

    async def close(self) -> None:
        """Disconnect; nothing is received any more."""
        self._received = lambda entries: None
        self._resources = self._ending = lambda: None
        self._stop()
        if self._thread.is_alive():
            await asyncio.to_thread(self._thread.join, 10.0)

    def _stop(self) -> None:
        self._stopping = True
        self._post(lambda: None)

    def _post(self, work: Callable[[], None]) -> None:
        self._calls.append(work)
        with self._guard:
            if self._wake >= 0:
                os.eventfd_write(self._wake, 1)

    def _end(self, why: str) -> None:
        """React to the end of the thread."""
        self._gone = why
        if not self._opened.done():
            self._opened.set_exception(MemberError(why, transient=True))
        for future in self._pending:
            if not future.done():
                future.set_result(MemberError(why, transient=True))
        if not self._stopping:
            self._lost(why)

    def _deliver(self, out: list[tuple[Callable[..., None], tuple[Any, ...]]]) -> None:
        for function, arguments in out:
            function(*arguments)

    # ---- on the thread -------------------------------------------------------------------------------

    def _run(self) -> None:
        why = "closed"
        try:
            why = self._converse()
        except Exception as error:
            why = f"the Flux broker: {_text(error)}"
        finally:
            with self._guard:
                os.close(self._wake)
                self._wake = -1
            self._out.append((self._end, (why,)))
            self._flush()

    def _converse(self) -> str:
        flux = self.flux
        handle = flux.Flux(self._uri) if self._uri else flux.Flux()
        constants = flux.constants
        self.mark = _mark(flux.kvs, handle, constants.FLUX_KVS_APPEND)
        self._hosts = _hosts(handle)
        watcher = handle.fd_watcher_create(self._wake, self._woken, constants.FLUX_POLLIN)
        watcher.start()
        flush = handle.prepare_watcher_create(self._before_waiting)
        flush.start()
        handle.rpc("job-manager.events-journal", {"full": True}, 0, constants.FLUX_RPC_STREAMING).then(self._journal)
        handle.rpc("resource.journal", {}, 0, constants.FLUX_RPC_STREAMING).then(self._nodes)
        # rank 0 is the one that ends first; no number of a state is ever the last that we want
        monitor = {"final": _NO_STATE}
        handle.rpc("state-machine.monitor", monitor, 0, constants.FLUX_RPC_STREAMING).then(self._state_changed)
        self._handle = handle
        self._out.append((self._is_open, ()))
        try:
            handle.reactor_run()
        except OSError as error:
            if not self._stopping:
                return f"the Flux broker is gone: {error.strerror or error}"
        finally:
            self._free(watcher, flush)
        return "closed" if self._stopping else self._failed or "the Flux broker is gone"

    def _free(self, *watchers: Any) -> None:
        """Leave nothing that knows the handle, so that the connection ends with this thread.

        Until then Flux would send to it, and keep what nobody reads. Its bindings keep every future that may yet be
        fulfilled, with what was to be called then: us.
        """
        waiting = getattr(import_module("flux.future"), "_THEN_HANDLES", {})
        # one table for all threads: it is copied at once, for others change it meanwhile
        for future in [one for one in list(waiting) if getattr(one.then_cb, "__self__", None) is self]:
            waiting.pop(future, None)
            _destroy(future)
        for watcher in watchers:
            watcher.stop()
            watcher.destroy()
            watcher.wargs = None
        del self._handle

    _failed = ""

    def _is_open(self) -> None:
        if not self._opened.done():
            self._opened.set_result(None)

    def _before_waiting(self, handle: Any, *_: Any) -> None:
        """All that could be read has been: hand it over in one go."""
        self._flush()
        if self._stopping or self._failed:
            handle.reactor_stop()

    def _flush(self) -> None:
        if self._entries:
            self._out.append((self._hand_over, (self._entries,)))
            self._entries = []
        if self._out:
            out, self._out = self._out, []
            with contextlib.suppress(RuntimeError):  # the loop has been closed
                self._loop.call_soon_threadsafe(self._deliver, out)

    def _hand_over(self, entries: list[Entry]) -> None:
        self._received(entries)

    def _woken(self, *_: Any) -> None:
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._wake)
        while self._calls:
            self._calls.popleft()()

    def _begin(self, asked: list[Asked], futures: list[asyncio.Future[Any]]) -> None:
        for (ask, read), future in zip(asked, futures, strict=True):
            try:
                ask(self._handle).then(self._answered, read, future)
            except Exception as error:
                self._out.append((_settle, (future, _error(error))))

    def _answered(self, flux_future: Any, read: Callable[[Any], Any] | None, future: asyncio.Future[Any]) -> None:
        found: Any
        try:
            found = read(flux_future) if read is not None else flux_future.get()
        except Exception as error:
            found = _error(error)
        _destroy(flux_future)
        self._out.append((_settle, (future, found)))

    def _journal(self, stream: Any) -> None:
        try:
            text = stream.get_str()
            # what was received before goes out before the answers to calls that came after it
            self._entries.append(_ENTRY.decode(text))
            stream.reset()
        except OSError as error:
            _destroy(stream)
            self._failed = (
                "only the owner of a Flux instance may read its journal; start your own (`flux alloc`, `flux batch`)"
                if error.errno == 1
                else f"the job manager's journal ended: {error.strerror or error}"
            )
        except Exception as error:
            self._failed = f"the job manager's journal: {_text(error)}"

    def _nodes(self, stream: Any) -> None:
        try:
            stream.get_str()
            stream.reset()
        except Exception:
            _destroy(stream)
            return  # an older Flux: sizes are then looked at when jobs come and go
        self._out.append((self._changed, ()))

    def _state_changed(self, stream: Any) -> None:
        try:
            stream.get_str()
            stream.reset()
        except Exception:
            _destroy(stream)
            return  # an older Flux
        # the numbers of states are not those of every version, their names are
        self._handle.rpc("state-machine.get", {}, 0).then(self._state)

    def _state(self, answer: Any) -> None:
        state = ""
        with contextlib.suppress(Exception):
            state = str(answer.get().get("state", ""))
        _destroy(answer)
        if state in _ENDING:
            self._out.append((self._ends, ()))

    def _ends(self) -> None:
        self._ending()

    def _changed(self) -> None:
        self._resources()


def _mark(kvs: Any, handle: Any, append: int) -> str:
    """The mark of an instance, in its own store: the first of all that were appended there (flag `append`)."""
    try:
        return _first_mark(kvs, handle)
    except FileNotFoundError:
        transaction = kvs.RAW.flux_kvs_txn_create()
        try:
            kvs.RAW.flux_kvs_txn_put(transaction, append, _MARK_KEY, json.dumps(token_hex(_MARK_BYTES)))
            kvs.commit(handle, namespace=_NAMESPACE, _kvstxn=transaction)
        finally:
            kvs.RAW.flux_kvs_txn_destroy(transaction)
    return _first_mark(kvs, handle)


def _first_mark(kvs: Any, handle: Any) -> str:
    """Raises `FileNotFoundError` while there is none."""
    # kvs.get() leaves its future behind where there is nothing, and with it the connection
    found = kvs.ffi.new("char *[1]")
    future = kvs.RAW.flux_kvs_lookup(handle, _NAMESPACE, 0, _MARK_KEY)
    try:
        kvs.RAW.flux_kvs_lookup_get(future, found)
        marks: str = kvs.ffi.string(found[0]).decode()
    finally:
        kvs.RAW.flux_future_destroy(future)
    return marks.replace('"', "")[: 2 * _MARK_BYTES]


def _hosts(handle: Any) -> frozenset[str] | None:
    try:
        return frozenset(import_module("flux.hostlist").decode(handle.attr_get("hostlist")))
    except (OSError, ValueError):
        return None


def _destroy(future: Any) -> None:
    """See that a future ends with its last user, on this thread and before its handle.

    It knows itself: the garbage collector would end it on whatever thread that runs, while the reactor works with it.
    """
    future.then_cb = future.cb_handle = None


def _settle(future: asyncio.Future[Any], found: Any) -> None:
    if not future.done():
        future.set_result(found)


def _text(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else "") or f"{type(error).__name__}: {error}"


def _error(error: Exception) -> MemberError:
    if isinstance(error, OSError):
        return FluxError(_text(error), error.errno or 0)
    return FluxError(_text(error))
