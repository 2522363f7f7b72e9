"""What holds for every test."""

import atexit
import contextlib
import os
import shutil
import signal
import tempfile
import time
import uuid
from pathlib import Path

import pytest

from tests.kubernetes.cluster import end_session

# a shell that starts the tests in the background lets them, and all that they start, ignore these
for number in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)

# no test may leave a run in the index of whoever runs it
os.environ["ENSEMBLE_HOME"] = tempfile.mkdtemp(prefix="ensemble-home-")
atexit.register(shutil.rmtree, os.environ["ENSEMBLE_HOME"], ignore_errors=True)

# nor kubectl's cache in their home
os.environ["KUBECACHEDIR"] = os.path.join(os.environ["ENSEMBLE_HOME"], "kube")

SESSION = "ENSEMBLE_TEST_SESSION"
"""By this variable in their environment we know what the tests have started; workers of xdist inherit it."""
os.environ.setdefault(SESSION, uuid.uuid4().hex)

LEAVE_SECONDS = 75.0
"""What ends by itself has this long after the last test: a keeper whose engine was killed goes after 60 s."""

AT_THE_END = contextlib.ExitStack()
"""Ends what one process of the tests keeps for all of them, such as a cluster."""
atexit.register(AT_THE_END.close)

_left: list[str] = []


def pytest_collection_modifyitems(items):
    """Let what needs a Kubernetes come last: its programs may still be under construction."""
    items.sort(key=lambda item: any(word in item.nodeid.lower() for word in ("kubernetes", "operator")))


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session):
    """Fail the session when something that it started is left."""
    AT_THE_END.close()
    if hasattr(session.config, "workerinput"):
        return
    end_session()
    until = time.monotonic() + LEAVE_SECONDS
    while (left := started_here()) and time.monotonic() < until:
        time.sleep(0.2)
    _left.extend(left)
    if left and session.exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter):
    """Name what is left, and the test that was running when it was started."""
    if _left:
        terminalreporter.section("processes that the tests have left", red=True)
        for line in _left:
            terminalreporter.line(line)


def started_here():
    """A line for each process that was started by this session, save ourselves."""
    lines = []
    for folder in Path("/proc").glob("[0-9]*"):
        if int(folder.name) == os.getpid():
            continue
        try:
            environment = dict(word.partition("=")[::2] for word in _words(folder / "environ"))
            if environment.get(SESSION) == os.environ[SESSION]:
                command = " ".join(_words(folder / "cmdline"))
                lines.append(f"{folder.name} {command[:120]}, started in {environment.get('PYTEST_CURRENT_TEST', '?')}")
        except OSError:
            continue  # it has ended, or it is not ours
    return lines


def _words(file):
    return file.read_bytes().decode(errors="replace").rstrip("\0").split("\0")
