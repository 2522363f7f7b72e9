"""The directory through which jobs on the nodes and the member on the login node exchange reports.

<run>/<dialect>/<member>/
    epoch          the highest engine that was here; a lower one is refused
    ships/<id>/    one array: `jobs.json`, a script for each task, `native` (the queue's id) once it is known
    claims/        <ref>: who executes it; <ref>.end: how it ended, once that was read. Never listed.
    new/           reports that nobody has read yet; few at a time, so that listing them costs nothing
    log.<stream>   what was read, durable before the report is removed
"""

from __future__ import annotations

__all__ = ["Array", "Cancelled", "Ref", "Report", "Spool"]

import contextlib
import itertools
import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import Struct

from ensemble.members.kit.epoch import EpochGuard
from ensemble.members.kit.figures import Described
from ensemble.members.kit.files import write_durably
from ensemble.members.kit.records import DurableLog
from ensemble.model.events import JobEvent
from ensemble.model.jobs import JobSpec

Ref = tuple[str, int]
_MOST: Final = 1000
"""Reports that are read in one look: on a slow file system each takes milliseconds, and the engine waits for them."""


_LAST: Final = {"1start": "incarnation", "2end": "complete"}
"""The field that a report of a kind ends with."""


class Array(Struct):
    """One array: the name under which it was submitted, its jobs, and its id in the queue once that is known."""

    id: str
    jobs: list[JobSpec]
    native: str = ""


class Cancelled(Struct, frozen=True):
    """A ref that was to be cancelled, and until when it might end by itself (seconds since the epoch)."""

    ref: Ref
    until: float


class Report(Struct, frozen=True):
    """What a job's script wrote: that it started, how it ended, or that it was stopped from outside."""

    name: str
    ref: Ref
    fields: dict[str, str]

    @property
    def ended(self) -> bool:
        """Whether it is of an end."""
        return self.name.endswith(".2end")

    @property
    def stopped(self) -> bool:
        """Whether the script was ended from outside: the queue knows why, and whether the job runs again."""
        return self.name.endswith(".3stopped")


class Spool:
    """Files only; every method blocks and raises `OSError`."""

    def __init__(self, run_dir: str, dialect: str, member: str) -> None:
        """`dialect` is the folder of the kind of queue."""
        self.folder = Path(run_dir) / dialect / member
        self.guard = EpochGuard(self.folder)
        self._log = DurableLog()

    def open(self, epoch: int, stream: str) -> None:
        """Make the directories and take over. Raises `MemberError` when a newer engine has."""
        for name in ("ships", "claims", "new", "tmp"):
            (self.folder / name).mkdir(parents=True, exist_ok=True, mode=0o700)
        self.guard.take(epoch)
        self._log.open(self.folder / f"log.{stream}")

    def close(self) -> None:
        """Let go of the log."""
        self._log.close()

    # ---- arrays --------------------------------------------------------------------------------------

    def array_folder(self, array: str) -> str:
        """Where the scripts of an array are."""
        return str(self.folder / "ships" / array)

    def add(self, array: Array, scripts: Sequence[str], run_dir: str) -> None:
        """Write a new array down: from here on the queue may have it."""
        folder = Path(self.array_folder(array.id))
        folder.mkdir(mode=0o700)
        for number, (spec, script) in enumerate(zip(array.jobs, scripts, strict=True)):
            (folder / f"{number}.sh").write_text(script)
            if spec.outputs:
                (folder / f"{number}.sh.json").write_bytes(msgspec.json.encode(Described(run_dir, spec)))
        write_durably(folder / "jobs.json", msgspec.json.encode(array.jobs))

    def name(self, array: str, native: str) -> None:
        """Write down the queue's id of an array; empty: the queue never got it."""
        write_durably(Path(self.array_folder(array)) / "native", (native or "void").encode())

    def arrays(self) -> Iterator[Array]:
        """Every array that the queue may have or may have had."""
        for folder in sorted((self.folder / "ships").iterdir()):
            try:
                jobs = msgspec.json.decode((folder / "jobs.json").read_bytes(), type=list[JobSpec])
            except (FileNotFoundError, msgspec.MsgspecError):
                continue  # it was never submitted
            native = (folder / "native").read_text() if (folder / "native").exists() else ""
            if native != "void":
                yield Array(folder.name, jobs, native)

    # ---- reports -------------------------------------------------------------------------------------

    def reports(self) -> list[Report]:
        """Return new reports, a job's start before its end. Where there are many, they come in parts."""
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
        if _LAST.get(name.rpartition(".")[2], "ref") not in fields or not text.endswith("\n"):
            return None  # it is still being written, or waits for room on a full disk
        key, _, attempt = fields.get("ref", "").rpartition(".")
        if not key or not attempt.isdigit():
            return None
        return Report(name, (key, int(attempt)), fields)

    def look_again(self) -> None:
        """Let an NFS client ask its server what claims there are: it may keep for a minute that a name is not there."""
        os.close(os.open(self.folder / "claims", os.O_RDONLY | os.O_DIRECTORY))

    def end_of(self, ref: Ref) -> Report | None:
        """The record of an end whose report was read."""
        return self._report("claim.2end", self._end(ref))

    def _end(self, ref: Ref) -> Path:
        return self.folder / "claims" / f"{ref[0]}.{ref[1]}.end"

    def claim_of(self, ref: Ref) -> Report | None:
        """Who executes a ref."""
        return self._report("claim", self.folder / "claims" / f"{ref[0]}.{ref[1]}")

    def begun(self, refs: Iterable[Ref]) -> set[Ref]:
        """The refs whose scripts have begun, reported or not."""
        self.look_again()
        return {(key, attempt) for key, attempt in refs if (self.folder / "claims" / f"{key}.{attempt}").exists()}

    def mark_cancelled(self, refs: Iterable[Ref], until: float) -> None:
        """Let the nodes and later members know that the signal which comes is ours, and when the job is killed."""
        refs = list(refs)
        for key, attempt in refs:
            (self.folder / "claims" / f"{key}.{attempt}.cancel").touch()
        self.take([{"cancel": list(ref), "until": until} for ref in refs])

    def take(
        self, entries: Iterable[dict[str, Any]], reports: Iterable[Report] = (), records: Collection[str] = ()
    ) -> None:
        """Make entries durable, then remove the reports they come from; those named in `records` are kept as an end."""
        self._log.append(b"".join(msgspec.json.encode(entry) + b"\n" for entry in entries))
        for report in reports:
            path = self.folder / "new" / report.name
            with contextlib.suppress(FileNotFoundError):
                if report.name in records:
                    path.rename(self._end(report.ref))
                else:
                    path.unlink()

    def remembered(self) -> Iterator[JobEvent | Cancelled]:
        """What earlier members read: events, and what was to be cancelled. A torn line is passed over."""
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
