"""What is done when an attempt is over: its output is kept, its figures are read, its end becomes durable."""

from __future__ import annotations

__all__ = ["Ends"]

import asyncio
import contextlib
import os
import time
from collections.abc import Awaitable
from pathlib import Path
from typing import Final

from ensemble.members.kit.fetching import fetch_file
from ensemble.members.kit.figures import read_figures
from ensemble.members.kit.files import JobFiles, remove_unkept
from ensemble.members.kit.work import retry
from ensemble.members.kubernetes.api import Api, ApiError
from ensemble.members.kubernetes.attempts import Attempt, Attempts
from ensemble.members.kubernetes.objects import Pod
from ensemble.members.kubernetes.reading import End
from ensemble.members.kubernetes.script import files_of
from ensemble.members.kubernetes.template import CONTAINER
from ensemble.members.kubernetes.workloads import WorkloadKind
from ensemble.model.errors import MemberError

_READERS: Final = 16
"""Logs that are read at a time."""
_LOG_SECONDS: Final = 15.0
"""How long a log is asked for that a node does not give."""
_PART: Final = 1 << 20


class Ends:
    """Concludes attempts. Without a shared volume their output is in logs, and is copied to the run's directory."""

    def __init__(self, attempts: Attempts, api: Api, kind: WorkloadKind, shared: bool) -> None:
        self._attempts, self._api, self._kind, self._shared = attempts, api, kind, shared
        self._readers = asyncio.Semaphore(_READERS)

    async def conclude(self, attempt: Attempt, end: End) -> None:
        """Keep what is left of an attempt, make its end durable, tell the engine. Raises `OSError`."""
        spec, run_dir = attempt.spec, self._attempts.context.run_dir
        missing_log = "" if self._shared else await self._keep_logs(attempt)
        files = JobFiles(run_dir, *attempt.ref)
        workdir = os.path.join(run_dir, spec.workdir)
        figures: dict[str, float] = {}
        missing: list[str] = []
        if spec.outputs:
            figures, missing = await asyncio.to_thread(read_figures, spec.outputs, workdir, files.stdout, files.stderr)
        outcome, reason, text = end.outcome, end.reason, end.text
        if attempt.cancelled and outcome != "success":
            outcome = reason = "cancelled"
        if missing_log:
            text = f"{text}; {missing_log}".lstrip("; ")
        at = max(end.time or time.time(), end.start, attempt.start)
        event = self._attempts.event(
            attempt, "inactive", at, outcome=outcome, reason=reason, exit_code=end.exit_code, signal=end.signal,
            start=end.start or attempt.start, figures=figures or None, missing=tuple(missing), hosts=attempt.hosts,
            text=text,
        )  # fmt: skip
        await self._attempts.store.append([event])
        await asyncio.to_thread(remove_unkept, spec.keep, outcome, workdir)
        if attempt.created and (self._kind.restarts or attempt.unwanted):
            # before the engine learns of the end, after which it may let go of the member at any time
            with contextlib.suppress(MemberError):
                await self._api.delete(self._kind.resource, attempt.name)
        self._attempts.finish(attempt, event)

    # ---- output --------------------------------------------------------------------------------------

    def follow_log(self, attempt: Attempt, pod: Pod) -> Awaitable[object]:
        """Read the log of a pod that is about to be deleted to its end; the answer is done when reading has begun."""
        begun = asyncio.Event()

        async def read() -> bytes:
            parts = bytearray()
            try:
                with contextlib.suppress(MemberError):
                    async for part in self._api.follow(pod.metadata.name, CONTAINER):
                        parts += part
                        begun.set()
            finally:
                begun.set()
            return bytes(parts)

        attempt.logs[pod.metadata.name] = asyncio.create_task(read())
        return begun.wait()

    async def _keep_logs(self, attempt: Attempt) -> str:
        """Write the logs of an attempt's pods into the run's directory; return why that could not be done."""
        trouble = ""
        for pod in attempt.pods.values():
            if pod.container(CONTAINER) is None:
                continue
            try:
                log = await self._log(attempt, pod.metadata.name)
            except MemberError as error:
                trouble = f"its output is lost: {error}"
                continue
            await asyncio.to_thread(self._write, attempt, self._kind.number(pod), log)
        return trouble

    async def _log(self, attempt: Attempt, pod: str) -> bytes:
        if pod in attempt.logs:
            return await attempt.logs.pop(pod)
        async with self._readers:
            return await retry(lambda: self._api.log(pod, CONTAINER), _LOG_SECONDS, 1.0)

    def _write(self, attempt: Attempt, number: int, log: bytes) -> None:
        run_dir = self._attempts.context.run_dir
        files = JobFiles(run_dir, *attempt.ref)
        output, others = files_of(log, attempt.name)
        folder = Path(files.folder)
        folder.mkdir(parents=True, exist_ok=True)
        Path(files.stdout + (f".node{number}" if number else "")).write_bytes(output)
        if number:
            return
        Path(files.stderr).touch()  # the log of a container holds both
        workdir = Path(run_dir, attempt.spec.workdir).resolve()
        for path, data in others.items():
            target = (workdir / path).resolve()
            if target.is_relative_to(workdir):
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(data)

    async def fetch(self, attempt: Attempt, path: str, offset: int, limit: int) -> bytes:
        """Part of a file of an attempt, from the run's directory or from its pod. Raises `MemberError`."""
        run_dir, ref = self._attempts.context.run_dir, attempt.spec.ref
        if self._shared or attempt.end is not None:
            return await fetch_file(run_dir, ref, path, offset, limit)
        pod = next((one for one in attempt.pods.values() if self._kind.number(one) == 0), None)
        if pod is None or not limit:
            return b""
        if path in ("stdout", "stderr"):
            if path == "stderr":
                return b""
            try:
                log = await self._api.log(pod.metadata.name, CONTAINER, offset + limit)
            except ApiError:
                return b""  # it has not begun
            return files_of(log, attempt.name)[0][offset : offset + limit]
        folder = JobFiles(run_dir, *attempt.ref).folder
        real = os.path.normpath(os.path.join(folder, path))
        if not real.startswith(folder + os.sep):
            raise MemberError(f"{path} is outside the folder of {ref.key}")
        script = '[ -f "$1" ] || { echo "$1: no such file" >&2; exit 1; }; tail -c "+$2" "$1" | head -c "$3"'
        words = ["/bin/sh", "-c", script, "sh", real, str(offset + 1), str(min(limit, _PART))]
        return await self._api.execute(pod.metadata.name, CONTAINER, words)
