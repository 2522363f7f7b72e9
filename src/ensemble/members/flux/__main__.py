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

from ensemble.members.contract import Observation
from ensemble.members.flux.broker import Broker
from ensemble.members.flux.entries import Entry
from ensemble.members.flux.register import Register
from ensemble.members.flux.sizes import Sizes
from ensemble.members.flux.watching import QueueWatch, payload
from ensemble.model.errors import EnsembleError
from ensemble.model.wording import counted


class Watch:
    """Prints events and, when it has changed, the status."""

    def __init__(self, uri: str, *, as_json: bool, history: bool) -> None:
        self._json = as_json
        self._printed: Observation | None = None
        self._watch = QueueWatch(uri, self._print_status, self._print_events, history=history)
        self.stop = self._watch.stop

    async def run(self) -> int:
        """Watch until the broker is gone or `stop` is called. Raises `MemberError` without a broker."""
        why = await self._watch.run()
        if why:
            print(f"ensemble: {why}", file=sys.stderr)
        return 1 if why else 0

    def _print_events(self, entry: Entry, broker: Broker) -> None:
        name = broker.named(entry.id)
        for event in entry.events:
            if self._json:
                self._print_line({"id": name, "time": event.timestamp, "name": event.name, "context": event.context})
            else:
                at = time.strftime("%H:%M:%S", time.localtime(event.timestamp))
                context = " ".join(f"{key}={value}" for key, value in event.context.items())
                self._print_line(f"{at} {name} {event.name} {context}".rstrip())

    def _print_status(self, sizes: Sizes, register: Register) -> None:
        now = payload(sizes, register)
        if now != self._printed:
            self._printed = now
            self._print_line({"nodes": now.nodes, "queue": now.queue} if self._json else _line(sizes, now.queue))

    def _print_line(self, what: Any) -> None:
        try:
            print(json.dumps(what) if self._json else what, flush=True)
        except BrokenPipeError:
            # nobody reads it any more (`| head`); what is still buffered has nowhere to go at our end
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            self.stop()


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
