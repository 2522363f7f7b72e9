"""What a machine is, as far as any user can tell: stored with a run, so that two clouds can be told apart later."""

from __future__ import annotations

__all__ = ["environment_here"]

import os
import platform
from pathlib import Path
from typing import Any

from ensemble import __version__


def environment_here() -> dict[str, Any]:
    """The machine we are on, and its system. What cannot be found out is left out."""
    processor = _pairs("/proc/cpuinfo", ":")
    memory = _pairs("/proc/meminfo", ":").get("MemTotal", "").split()
    # named as in the environment of a measurement
    found = {
        "ensemble": __version__,
        "python": platform.python_version(),
        "os": _pairs("/etc/os-release", "=").get("PRETTY_NAME", "").strip('"'),
        "kernel": f"{platform.system()} {platform.release()}",
        "machine": platform.machine(),
        "cpu": {"model": processor.get("model name", ""), "threads": os.cpu_count()},
        "memory": int(memory[0]) * 1024 if memory else 0,
        "product": " ".join(filter(None, map(_dmi, ("sys_vendor", "product_name")))),
    }
    return {name: value for name, value in found.items() if value}


def _pairs(path: str, separator: str) -> dict[str, str]:
    """The lines of a file that have a name and a value; of several of one name the first."""
    try:
        lines = Path(path).read_text(errors="replace").splitlines()
    except OSError:
        return {}
    parts = (line.partition(separator) for line in reversed(lines))
    return {name.strip(): value.strip() for name, _, value in parts if value}


def _dmi(name: str) -> str:
    try:
        return Path("/sys/class/dmi/id", name).read_text(errors="replace").strip()
    except OSError:
        return ""
