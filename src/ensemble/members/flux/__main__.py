"""`python3 -m ensemble.members.flux`: watch a Flux queue, printing its events and its status as they come."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
import time
from typing import Any

from ensemble.members.flux import calls
from ensemble.members.flux.broker import Broker
from ensemble.members.flux.entries import SENTINEL, Entry
from ensemble.members.flux.register import Register
from ensemble.members.flux.sizes import Sizes, read_sizes
from ensemble.model.errors import EnsembleError
from ensemble.model.wording import counted


class Watch:
    """Prints events and, when it has changed, at most once a second, the status."""

    def __init__(self, uri: str, *, as_json: bool, history: bool) -> None:
        self._json, self._history = as_json, history
        self._register = Register("", "", {}, str)
        self._past = True
        self._dirty, self._over = asyncio.Event(), asyncio.Event()
        self._why = ""
        self._broker = Broker(uri, self._receive, self._lost, self._dirty.set)

    async def run(self) -> int:
        """Watch until the broker is gone or `stop` is called. Raises `MemberError` without a broker."""
        await self._broker.open()
        over = asyncio.create_task(self._over.wait())
        status = asyncio.create_task(self._status())
        try:
            await asyncio.wait((over, status), return_when=asyncio.FIRST_COMPLETED)
            if status.done():
                status.result()
        finally:
            for task in (over, status):
                task.cancel()
            await self._broker.close()
        if self._why:
            print(f"ensemble: {self._why}", file=sys.stderr)
        return 1 if self._why else 0

    def stop(self) -> None:
        """Stop watching."""
        self._over.set()

    def _lost(self, why: str) -> None:
        self._why = why
        self._over.set()

    def _receive(self, entries: list[Entry]) -> None:
        for entry in entries:
            if entry.id == SENTINEL:
                self._past = False
                self._dirty.set()
                continue
            self._register.count(entry)
            if not self._past or self._history:
                self._print_events(entry)
        if not self._past:
            self._dirty.set()

    def _print_events(self, entry: Entry) -> None:
        name = self._broker.named(entry.id)
        for event in entry.events:
            if self._json:
                self._print_line({"id": name, "time": event.timestamp, "name": event.name, "context": event.context})
            else:
                at = time.strftime("%H:%M:%S", time.localtime(event.timestamp))
                context = " ".join(f"{key}={value}" for key, value in event.context.items())
                self._print_line(f"{at} {name} {event.name} {context}".rstrip())

    async def _status(self) -> None:
        before: Any = None
        while True:
            await self._dirty.wait()
            self._dirty.clear()
            sizes = read_sizes(await self._broker.call(calls.sizes()))
            now = status(sizes, self._register)
            if now != before:
                before = now
                self._print_line(now if self._json else _line(sizes, now["queue"]))
            await asyncio.sleep(1.0)

    def _print_line(self, what: Any) -> None:
        try:
            print(json.dumps(what) if self._json else what, flush=True)
        except BrokenPipeError:
            # nobody reads it any more (`| head`); what is still buffered has nowhere to go at our end
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            self.stop()


def status(sizes: Sizes, register: Register) -> dict[str, dict[str, int]]:
    """Nodes and queue, under the names of the service's `Status`."""
    queue = dict.fromkeys(("new", "depend", "priority", "sched", "run", "cleanup", "inactive"), 0)
    for state in register.active.values():
        queue[state] += 1
    queue["inactive"] = register.inactive
    nodes = {
        "node_cores_free": sizes.cores_free,
        "node_cores_up": sizes.cores_up,
        "node_up_count": sizes.nodes_up,
        "node_free_count": sizes.nodes_free,
    }
    return {"nodes": nodes, "queue": queue}


def _line(sizes: Sizes, queue: dict[str, int]) -> str:
    jobs = ", ".join(f"{count} {state}" for state, count in queue.items() if count) or "none"
    nodes, cores = (
        f"{counted(sizes.nodes_up, 'node')} ({sizes.nodes_free} free)",
        f"{counted(sizes.cores_up, 'core')} ({sizes.cores_free} free)",
    )
    return f"-- {nodes}, {cores}; jobs: {jobs}"


async def _watch(arguments: argparse.Namespace) -> int:
    watch = Watch(arguments.uri, as_json=arguments.json, history=arguments.history)
    for one in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(one, watch.stop)
    return await watch.run()


def main(program: str = "python3 -m ensemble.members.flux", uri: str | None = "") -> None:
    """Watch until Ctrl-C. `uri` is the default address of the instance; None: no instance was found."""
    parser = argparse.ArgumentParser(prog=program, description="Watch a Flux queue: its events and its status.")
    parser.add_argument("--uri", default=uri, help="address of the instance (default: the one around this process)")
    parser.add_argument("--json", action="store_true", help="print one JSON object on each line")
    parser.add_argument("--history", action="store_true", help="print past events, too")
    arguments = parser.parse_args()
    if arguments.uri is None:
        sys.exit("ensemble: there is no Flux broker in this pod: neither FLUX_URI nor a socket in the Flux view")
    try:
        sys.exit(asyncio.run(_watch(arguments)))
    except EnsembleError as error:
        sys.exit(f"ensemble: {error}")


if __name__ == "__main__":
    main()
