"""Programs of Debian's packages, installed when a test asks for them."""

import os
import shutil
import subprocess


def install(programs):
    """Install the packages of those programs that are missing; why that cannot be done, or nothing."""
    wanted = [package for program, package in programs.items() if shutil.which(program) is None]
    if not wanted:
        return ""
    if shutil.which("apt-get") is None or os.geteuid():
        return f"{', '.join(wanted)} of Debian: not here, and no apt-get as root"
    apt = "apt-get -qq -o DPkg::Lock::Timeout=300"
    both = f"{apt} update && {apt} install -y --no-install-recommends {' '.join(wanted)}"
    # others install at the same time
    words = ["flock", "/tmp/ensemble-apt.lock", "sh", "-c", both]
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}  # its services are not started
    done = subprocess.run(words, env=environment, capture_output=True, text=True)
    return f"apt-get failed: {done.stderr.strip()}" if done.returncode else ""
