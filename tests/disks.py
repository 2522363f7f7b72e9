"""Small file systems to fill."""

import contextlib
import subprocess
import time

import pytest


@contextlib.contextmanager
def disk(folder, size):
    """A file system of so many bytes. Skips where none can be mounted."""
    folder.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], capture_output=True, text=True
    )
    if done.returncode:
        pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        end = time.monotonic() + 80
        while subprocess.run(["umount", str(folder)], capture_output=True).returncode:
            assert time.monotonic() < end, "still in use"
            time.sleep(0.05)


def fill(folder):
    """Leave no room; return the file that takes it."""
    path = folder / "filler"
    with contextlib.suppress(OSError), path.open("wb", buffering=0) as filler:
        while True:
            filler.write(b"\0" * 4096)
    return path
