"""One worker process as the engine sees it: requests, time limits, and its end together with all that it started."""

from __future__ import annotations

__all__ = ["Died", "Hung", "Log", "Setup", "WorkerProcess"]

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
import weakref
from pathlib import Path
from typing import Any, Final, NamedTuple, NoReturn

from ensemble.functions.frames import ANSWER_LIMIT, HEAD, decode, encode

LOAD_LIMIT: Final = 60.0
"""Seconds that starting a worker and loading the code may take at least: imports from a cold NFS are slow."""

_GRACE: Final = 2.0
"""Seconds after which a worker that did not end itself at the limit is ended from here."""

_KEPT: Final = 8000
"""How many bytes of a worker's last output are kept."""

CALL: Final = "it was called"

LOG_LIMIT: Final = 16 << 20
"""Bytes that functions may print into the log of a run."""


class Hung(Exception):
    """It took longer than allowed. The text says what it printed last: where it hung."""


class Died(Exception):
    """The process ended. `how` names the exit code or signal; the text is what it printed last."""

    def __init__(self, how: str, last: str) -> None:
        self.how = how
        super().__init__(last)


class Setup(NamedTuple):
    """The first message to a worker. Times are in seconds."""

    custom: str
    directory: str
    script: str
    paths: tuple[str, ...]
    time_limit: float
    load_limit: float


class Log:
    """Where what functions print goes: a file that stays bounded, or nowhere. A full disk is no reason to fail."""

    def __init__(self) -> None:
        self._path: Path | None = None
        self._left = LOG_LIMIT
        self._early = b""

    def open(self, path: Path | None) -> None:
        """Write to this file from now on, first what came before there was one."""
        self._path, self._left = path, LOG_LIMIT
        if path is not None:
            with contextlib.suppress(OSError):
                self._left -= path.stat().st_size
            early, self._early = self._early, b""
            self.write(early)

    def write(self, data: bytes) -> None:
        """Append what still has room."""
        if self._path is None:
            self._early = (self._early + data)[-_KEPT:]
        if self._path is None or self._left <= 0 or not data:
            return
        fits, self._left = data[: self._left], self._left - len(data)
        if self._left <= 0:
            fits += b"\n(this file has reached its limit; later output is not kept)\n"
        with contextlib.suppress(OSError), self._path.open("ab") as file:
            file.write(fits)


class WorkerProcess:
    """A worker that is started when it is first needed, and again after it was ended. For one thread at a time."""

    def __init__(self, setup: Setup, log: Log) -> None:
        self._setup = setup
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None
        self._ready = False
        self._last = b""
        _living.add(self)

    def start(self) -> None:
        """Start the process unless it runs already. It loads the code while the caller goes on. Raises `OSError`."""
        if self._process is not None:
            return
        self._process = subprocess.Popen(
            # -P: what lies in the current directory must not stand in for our own imports
            [sys.executable, "-u", "-P", "-c", "from ensemble.functions.worker import main; main()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            cwd=self._setup.directory or None,
        )
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            assert stream is not None
            os.set_blocking(stream.fileno(), False)
        self._ready = False
        self._last = b""
        self._unsent = bytearray(encode(self._setup._asdict()))
        self._answer = bytearray()
        self._send()

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """Send a request and return its answer. Raises `Hung`, `Died` (both end the process) and `OSError`."""
        self.start()
        if not self._ready:
            self._receive(self._setup.load_limit, "it loaded the code")
            self._ready = True
        self._unsent += encode(request)
        return self._receive(self._setup.time_limit, CALL)

    def kill(self) -> str:
        """End the process and all it started; return how it had ended."""
        process, self._process = self._process, None
        if process is None:
            return ""
        # before it is reaped: until then nobody else can have its number
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        code = process.wait()
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()
        return f"signal {-code}" if code < 0 else f"exit code {code}"

    def interrupt(self) -> None:
        """End the process from another thread than the one that waits for it (which then sees it die)."""
        process = self._process
        if process is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)

    def abandon(self) -> None:
        """Forget the process: it belongs to the parent that forked this one, which ends it."""
        process, self._process = self._process, None
        if process is not None:
            for stream in (process.stdin, process.stdout, process.stderr):
                if stream is not None:
                    with contextlib.suppress(OSError):
                        os.close(stream.fileno())
            process.returncode = 0

    # ---- pipes -------------------------------------------------------------------------------------

    def _receive(self, limit: float, what: str) -> dict[str, Any]:
        process = self._process
        assert process is not None
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        answers, output, requests = process.stdout.fileno(), process.stderr.fileno(), process.stdin.fileno()
        started = time.monotonic()
        poll = select.poll()
        poll.register(answers, select.POLLIN)
        poll.register(output, select.POLLIN)
        if not self._send():
            poll.register(requests, select.POLLOUT)
        while True:
            left = started + limit + _GRACE - time.monotonic()
            found = poll.poll(left * 1000.0) if left > 0 else []
            if not found:
                self._drain(output)
                self.kill()
                raise Hung(self._last_words())
            for number, _ in found:
                if number == output:
                    if not self._drain(output):
                        poll.unregister(output)
                elif number == requests:
                    if self._send():
                        poll.unregister(requests)
                elif not self._read_answers(answers):
                    self._over(output, limit, time.monotonic() - started, what)
            message = self._message(limit, what)
            if message is not None:
                self._drain(output)
                return message

    def _send(self) -> bool:
        """Write what the pipe takes; return whether everything is written."""
        process = self._process
        assert process is not None
        assert process.stdin is not None
        try:
            while self._unsent:
                del self._unsent[: os.write(process.stdin.fileno(), self._unsent)]
        except BlockingIOError:
            return False
        except BrokenPipeError:
            self._unsent.clear()  # that it has ended is seen on the other pipe
        return True

    def _read_answers(self, answers: int) -> bool:
        """Read what has come; return whether the other end is still open."""
        data = os.read(answers, 1 << 16)
        self._answer += data
        return bool(data)

    def _message(self, limit: float, what: str) -> dict[str, Any] | None:
        """Return the answer once it is complete, else None."""
        if len(self._answer) < HEAD:
            return None
        size = int.from_bytes(self._answer[:HEAD], "big")
        if size > ANSWER_LIMIT:  # our own worker never sends that
            self.kill()
            raise Died("it wrote into the pipe that is reserved for its answers", self._last_words())
        if len(self._answer) < HEAD + size:
            return None
        body = bytes(self._answer[HEAD : HEAD + size])
        del self._answer[: HEAD + size]
        try:
            return decode(body)
        except ValueError:
            self.kill()
            raise Died("it wrote into the pipe that is reserved for its answers", self._last_words()) from None

    def _drain(self, output: int) -> bool:
        """Copy what was printed to the log; return whether more can come."""
        while True:
            try:
                data = os.read(output, 1 << 16)
            except BlockingIOError:
                return True
            if not data:
                return False
            self._log.write(data)
            self._last = (self._last + data)[-_KEPT:]

    def _over(self, output: int, limit: float, took: float, what: str) -> NoReturn:
        """The process closed its end of the pipe. Raises what that means."""
        assert self._process is not None
        until = time.monotonic() + 1.0
        # it is about to end; how is known a moment later, unless code of people only closed the pipe
        while time.monotonic() < until and not _has_ended(self._process.pid):
            time.sleep(0.001)
        self._drain(output)
        how = self.kill()
        if took >= limit:
            raise Hung(self._last_words())
        raise Died(how if what == CALL else f"{how} while {what}", self._last_words())

    def _last_words(self) -> str:
        return self._last.decode(errors="replace").strip()


def _has_ended(pid: int) -> bool:
    """Whether a child has ended; it stays to be reaped."""
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None
    except ChildProcessError:
        return True


_living: weakref.WeakSet[WorkerProcess] = weakref.WeakSet()


def _forget_in_child() -> None:
    for worker in list(_living):
        worker.abandon()


os.register_at_fork(after_in_child=_forget_in_child)
