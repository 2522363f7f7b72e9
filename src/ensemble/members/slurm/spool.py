"""The directory through which jobs on the nodes and the member on the login node speak, and what is remembered there.

<run>/slurm/<member>/
    epoch          the highest engine that was here; a lower one is refused
    ships/<id>/    one array: `jobs.json`, a script for each task, `native` (Slurm's id) once it is known
    claims/        <ref>: who executes it; <ref>.end: how it ended. Never listed.
    new/           reports that nobody has taken in yet; short, so that listing it costs nothing
    tmp/           what is being written
    log.<stream>   what was taken in, durable before the report is removed
"""

from __future__ import annotations

__all__ = ["Cancelled", "Described", "Report", "Shipment", "Spool"]

import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import Struct

from ensemble.model.errors import MemberError
from ensemble.model.events import JobEvent
from ensemble.model.jobs import JobSpec

Ref = tuple[str, int]
_MOST: Final = 1000
"""Reports that are read in one look: on a slow file system each takes milliseconds, and the engine waits for them."""


class Described(Struct, frozen=True):
    """A job as the node's reader of figures gets it."""

    run_dir: str
    spec: JobSpec


class Shipment(Struct):
    """One array: what it was made of, and its id with Slurm, empty while that is not known."""

    id: str
    jobs: list[JobSpec]
    native: str = ""


class Cancelled(Struct, frozen=True):
    """A ref that was to be cancelled, and until when it might end by itself (seconds since the epoch)."""

    ref: Ref
    until: float


class Report(Struct, frozen=True):
    """What a job's script wrote: a start, an end, or that it was stopped from outside."""

    name: str
    ref: Ref
    fields: dict[str, str]

    @property
    def ended(self) -> bool:
        """Whether it tells an end."""
        return self.name.endswith(".2end")

    @property
    def stopped(self) -> bool:
        """Whether the script was ended from outside: the queue knows why, and whether the job runs again."""
        return self.name.endswith(".3stopped")


class Spool:
    """Files only; every method blocks and raises `OSError`."""

    def __init__(self, run_dir: str, member: str) -> None:
        self.folder = Path(run_dir) / "slurm" / member
        self._log = -1

    def open(self, epoch: int, stream: str) -> None:
        """Make the directories and take over. Raises `MemberError` when a newer engine has."""
        for name in ("ships", "claims", "new", "tmp"):
            (self.folder / name).mkdir(parents=True, exist_ok=True, mode=0o700)
        if self.epoch() > epoch:
            raise MemberError(f"engine {self.epoch()} has taken over; {epoch} is too old")
        self.write("epoch", str(epoch))
        self.close()
        self._log = os.open(self.folder / f"log.{stream}", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def epoch(self) -> int:
        """The highest engine that was here."""
        try:
            return int((self.folder / "epoch").read_text() or 0)
        except FileNotFoundError:
            return 0

    def close(self) -> None:
        """Let go of the log."""
        if self._log >= 0:
            os.close(self._log)
        self._log = -1

    def write(self, name: str, text: str) -> None:
        """Replace a file, durably."""
        path = self.folder / name
        beside = path.with_name(path.name + ".tmp")
        file = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            data = text.encode()
            while data:
                data = data[os.write(file, data) :]
            os.fsync(file)
        finally:
            os.close(file)
        os.replace(beside, path)

    # ---- arrays --------------------------------------------------------------------------------------

    def ship(self, shipment: Shipment, scripts: Sequence[str], run_dir: str) -> None:
        """Write a new array down: from here on it may be with Slurm."""
        folder = self.folder / "ships" / shipment.id
        folder.mkdir(mode=0o700)
        for number, (spec, script) in enumerate(zip(shipment.jobs, scripts, strict=True)):
            (folder / f"{number}.sh").write_text(script)
            if spec.outputs:
                (folder / f"{number}.sh.json").write_bytes(msgspec.json.encode(Described(run_dir, spec)))
        self.write(f"ships/{shipment.id}/jobs.json", msgspec.json.encode(shipment.jobs).decode())

    def named(self, shipment: str, native: str) -> None:
        """Write down what Slurm calls an array; `void`: it never got there."""
        self.write(f"ships/{shipment}/native", native)

    def shipments(self) -> Iterator[Shipment]:
        """Every array that may be or have been with Slurm."""
        for folder in sorted((self.folder / "ships").iterdir()):
            try:
                jobs = msgspec.json.decode((folder / "jobs.json").read_bytes(), type=list[JobSpec])
            except (FileNotFoundError, msgspec.MsgspecError):
                continue  # it was never submitted
            native = (folder / "native").read_text() if (folder / "native").exists() else ""
            if native != "void":
                yield Shipment(folder.name, jobs, native)

    # ---- reports -------------------------------------------------------------------------------------

    def reports(self) -> list[Report]:
        """What is new, a job's start before its end; not all at once where there is much."""
        with os.scandir(self.folder / "new") as entries:
            names = sorted(entry.name for entry in entries)
        found = (self._report(name, self.folder / "new" / name) for name in names)
        return list(itertools.islice((report for report in found if report is not None), _MOST))

    def _report(self, name: str, path: Path) -> Report | None:
        try:
            text = path.read_text(errors="replace")
        except FileNotFoundError:
            return None
        fields = dict(line.partition("=")[::2] for line in text.splitlines())
        if name.endswith(".2end") and fields.get("complete") != "1":
            return None  # on a full disk the rest may still come
        key, _, attempt = fields.get("ref", "").rpartition(".")
        if not key or not attempt.isdigit():
            return None
        return Report(name, (key, int(attempt)), fields)

    def look_again(self) -> None:
        """Let an NFS client ask its server what claims there are: it may keep for a minute that a name is not there."""
        os.close(os.open(self.folder / "claims", os.O_RDONLY | os.O_DIRECTORY))

    def end_of(self, ref: Ref) -> Report | None:
        """The record of an end, wherever its report is."""
        return self._report("x.2end", self.folder / "claims" / f"{ref[0]}.{ref[1]}.end")

    def claim_of(self, ref: Ref) -> Report | None:
        """Who executes a ref."""
        return self._report("x.1start", self.folder / "claims" / f"{ref[0]}.{ref[1]}")

    def begun(self, refs: Iterable[Ref]) -> set[Ref]:
        """Those of which a script has begun, told or not."""
        self.look_again()
        return {(key, attempt) for key, attempt in refs if (self.folder / "claims" / f"{key}.{attempt}").exists()}

    def mark_cancelled(self, refs: Iterable[Ref], until: float) -> None:
        """Let the nodes and later members know that the signal which comes is ours, and until when there is mercy."""
        refs = list(refs)
        for key, attempt in refs:
            (self.folder / "claims" / f"{key}.{attempt}.cancel").touch()
        self.take([{"cancel": list(ref), "until": until} for ref in refs])

    def take(self, entries: Iterable[dict[str, Any]], reports: Iterable[Report] = ()) -> None:
        """Make entries durable, then remove the reports they come from."""
        data = b"".join(msgspec.json.encode(entry) + b"\n" for entry in entries)
        while data:
            data = data[os.write(self._log, data) :]
        os.fdatasync(self._log)
        for report in reports:
            (self.folder / "new" / report.name).unlink(missing_ok=True)

    def remembered(self) -> Iterator[JobEvent | Cancelled]:
        """What earlier members took in: events, and what was to be cancelled. A torn line is passed over."""
        for path in sorted(self.folder.glob("log.*")):
            for line in path.read_bytes().split(b"\n"):
                try:
                    entry = msgspec.json.decode(line)
                    if "event" in entry:
                        yield msgspec.convert(entry["event"], JobEvent)
                    else:
                        yield Cancelled(tuple(entry["cancel"]), entry.get("until", 0.0))
                except (msgspec.MsgspecError, KeyError, TypeError):
                    continue
