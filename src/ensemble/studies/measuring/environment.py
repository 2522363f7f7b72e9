"""The machine that a job ran on, from what its shell noted: about 2 KB of plain data, without root or network."""

from __future__ import annotations

__all__ = ["environment"]

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from ensemble.studies.measuring.notes import Notes

_FLAGS: Final = ("sse4_2", "avx", "avx2", "avx512f", "avx512_bf16", "amx_tile", "sve", "asimd", "hypervisor")
"""Features of a processor that matter for the speed of numerics, and whether it is virtual."""


def environment(notes: Notes) -> dict[str, Any]:
    """Return what is known of a machine; what it does not show is left out. Sizes are bytes, `mhz` is MHz."""
    noted = notes.environment
    files = dict(line.split(":", 1) for line in noted.get("file", ()) if ":" in line)
    cpu = _pairs(noted.get("cpuinfo", ()), ":")
    count = _pairs(noted.get("count", ()), " ")
    memory = _pairs(noted.get("meminfo", ()), ":")
    uname = next(iter(noted.get("uname", ())), "").split()
    release = _pairs((line.split(":", 1)[1] for line in noted.get("file", ()) if line.startswith("/etc/os-")), "=")
    flags = set((cpu.get("flags") or cpu.get("Features") or "").split())
    found: dict[str, Any] = {
        "host": uname[1] if len(uname) > 1 else None,
        "kernel": " ".join(uname[0:1] + uname[2:3]) or None,
        "machine": uname[3] if len(uname) > 3 else None,
        "os": release.get("PRETTY_NAME", "").strip('"') or None,
        "cpu": {
            "model": cpu.get("model name") or cpu.get("CPU part"),
            "vendor": cpu.get("vendor_id") or cpu.get("CPU implementer"),
            "microcode": cpu.get("microcode"),
            "mhz": _whole(cpu.get("cpu MHz")),
            "cores_of_socket": _whole(cpu.get("cpu cores")),
            "threads": _whole(count.get("cpus")),
            "usable": _whole(count.get("usable")),
            "smt": {"0": False, "1": True}.get(files.get("/sys/devices/system/cpu/smt/active", "")),
            "governor": files.get("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
            "features": [flag for flag in _FLAGS if flag in flags] or None,
            "caches": _caches(files) or None,
        },
        "numa_nodes": files.get("/sys/devices/system/node/online"),
        "memory": _kilobytes(memory.get("MemTotal")),
        "memory_available": _kilobytes(memory.get("MemAvailable")),
        "swap": _kilobytes(memory.get("SwapTotal")),
        "huge_pages": _chosen(files.get("/sys/kernel/mm/transparent_hugepage/enabled")),
        "clock": files.get("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
        "limits": {"cpu": files.get("/sys/fs/cgroup/cpu.max"), "memory": files.get("/sys/fs/cgroup/memory.max")},
        "product": " ".join(
            files[path] for path in ("/sys/class/dmi/id/sys_vendor", "/sys/class/dmi/id/product_name") if path in files
        )
        or None,
        "network": {
            path.split("/")[4]: f"{speed} Mbit/s"
            for path, speed in files.items()
            if path.startswith("/sys/class/net/") and speed.isdigit()
        }
        or None,
        "infiniband": {path.split("/")[4]: rate for path, rate in files.items() if "/infiniband/" in path} or None,
        "mpi": next((" ".join(rank.library.replace("Version:", "").split()) for rank in notes.ranks), None),
    }
    return _known(found)


def _known(found: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what is not known."""
    inner = {key: _known(value) if isinstance(value, dict) else value for key, value in found.items()}
    return {key: value for key, value in inner.items() if value is not None and value != {}}


def _pairs(lines: Iterable[str], between: str) -> dict[str, str]:
    split = (line.partition(between) for line in lines)
    return {key.strip(): value.strip() for key, found, value in split if found}


def _whole(text: str | None) -> int | None:
    try:
        return round(float(text or ""))
    except ValueError:
        return None


def _kilobytes(text: str | None) -> int | None:
    """Bytes of a line of /proc/meminfo, which counts in units of 1,024."""
    found = _whole((text or "").removesuffix("kB"))
    return None if found is None else found * 1024


def _chosen(text: str | None) -> str | None:
    """The word in brackets, as in `always [madvise] never`."""
    found = re.search(r"\[(\w+)\]", text or "")
    return found[1] if found else None


def _caches(files: Mapping[str, str]) -> dict[str, str]:
    """Sizes by level: `L1d`, `L1i`, `L2`, `L3`."""
    found = {}
    for path, level in files.items():
        folder, _, name = path.rpartition("/")
        if name == "level" and "/cache/" in path:
            kind = files.get(f"{folder}/type", "")
            suffix = {"Data": "d", "Instruction": "i"}.get(kind, "")
            found[f"L{level}{suffix}"] = files.get(f"{folder}/size", "")
    return found
