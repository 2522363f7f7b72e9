"""What holds for every test."""

import atexit
import os
import shutil
import signal
import tempfile

# a shell that starts the tests in the background lets them, and all that they start, ignore these
for number in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)

# no test may leave a run in the index of whoever runs it
os.environ["ENSEMBLE_HOME"] = tempfile.mkdtemp(prefix="ensemble-home-")
atexit.register(shutil.rmtree, os.environ["ENSEMBLE_HOME"], ignore_errors=True)
