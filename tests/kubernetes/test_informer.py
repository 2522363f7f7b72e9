"""The informer against a real API server: cut watches, versions that are too old, and who shares it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from ensemble.members.kubernetes import informer as module
from ensemble.members.kubernetes.api import ApiError, Gone, connect
from ensemble.members.kubernetes.informer import Informer, Informers
from ensemble.members.kubernetes.objects import JOBS, Workload
from ensemble.model.errors import MemberError, MemberUnavailable
from tests.kubernetes.cluster import Namespace


class Heard:
    """A listener that remembers."""

    def __init__(self) -> None:
        self.told: list[tuple[str, bool]] = []
        self.why: list[str] = []
        self.news = asyncio.Event()

    def changed(self, found: Workload, deleted: bool) -> None:
        self.told.append((found.metadata.name, deleted))
        self.news.set()

    def lost(self, why: str) -> None:
        self.why.append(why)
        self.news.set()

    async def hears(self, *told: tuple[str, bool]) -> None:
        """Wait until all of these were told."""
        async with asyncio.timeout(30):
            while not set(told) <= set(self.told):
                self.news.clear()
                await self.news.wait()


class Wire:
    """What is between a client and the API server; it can be cut."""

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port
        self._ends: set[asyncio.StreamWriter] = set()
        self.up = True

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self.up:
            writer.close()
            return
        there, onward = await asyncio.open_connection(self._host, self._port)
        self._ends |= {writer, onward}
        await asyncio.gather(self._copy(reader, onward), self._copy(there, writer))

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()

    def cut(self, up: bool = True) -> None:
        """End every connection; new ones are refused unless it stays `up`."""
        self.up = up
        for end in self._ends:
            end.close()
        self._ends.clear()


@asynccontextmanager
async def wire(namespace: Namespace, folder: Path) -> AsyncIterator[tuple[Wire, str]]:
    """A wire, and a kubeconfig that goes through it."""
    file = namespace.kubeconfig(folder / "wire.kubeconfig")
    config = json.loads(file.read_text())
    target = config["clusters"][0]["cluster"]
    where = urlsplit(target["server"])
    made = Wire(str(where.hostname), int(where.port or 443))
    server = await asyncio.start_server(made.carry, "127.0.0.1", 0)
    target["server"] = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    file.write_text(json.dumps(config))
    try:
        yield made, str(file)
    finally:
        made.cut(up=False)
        server.close()


def job(name: str) -> dict[str, object]:
    container = {"name": "job", "image": "x"}
    template = {"spec": {"restartPolicy": "Never", "containers": [container]}}
    spec = {"suspend": True, "template": template}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, "spec": spec}


def test_a_watch_that_is_cut_goes_on_where_it_was(namespace: Namespace, tmp_path: Path) -> None:
    async def whole() -> None:
        async with wire(namespace, tmp_path) as (line, kubeconfig):
            heard, api = Heard(), connect(kubeconfig)
            jobs: Informer[Workload] = Informer(api, JOBS)
            jobs.add(heard)
            await jobs.start()
            namespace.apply(job("a"))
            await heard.hears(("a", False))
            line.cut()
            namespace.apply(job("b"))
            await heard.hears(("b", False))
            assert jobs.listings == 1
            await jobs.stop()

    asyncio.run(whole())


def test_a_version_that_is_too_old_is_listed_again_and_what_is_gone_is_told(
    namespace: Namespace, tmp_path: Path
) -> None:
    async def whole() -> None:
        async with wire(namespace, tmp_path) as (line, kubeconfig):
            heard, api = Heard(), connect(kubeconfig)
            jobs: Informer[Workload] = Informer(api, JOBS)
            namespace.apply(job("a"), job("b"))
            jobs.add(heard)
            await jobs.start()
            await heard.hears(("a", False), ("b", False))
            line.cut(up=False)
            namespace.kubectl("delete", "job", "a")
            watch = jobs._api.watch

            async def too_old(*_: object) -> AsyncIterator[object]:
                jobs._api.watch = watch
                raise Gone("too old resource version: 1 (2)", 410, "Expired", transient=True)
                yield

            # a server of a few minutes still has every version, and would go on from any
            jobs._api.watch = too_old
            line.up = True
            await heard.hears(("a", True))
            assert jobs.listings == 2
            assert set(jobs.objects) == {"b"}
            await jobs.stop()

    asyncio.run(whole())


def test_listeners_are_told_once_when_the_server_stays_away(
    namespace: Namespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SILENT", 0.5)

    async def whole() -> None:
        async with wire(namespace, tmp_path) as (line, kubeconfig):
            heard, api = Heard(), connect(kubeconfig)
            jobs: Informer[Workload] = Informer(api, JOBS)
            jobs.add(heard)
            await jobs.start()
            line.cut(up=False)
            async with asyncio.timeout(30):
                while not heard.why:
                    heard.news.clear()
                    await heard.news.wait()
            assert "does not answer" in heard.why[0]
            with pytest.raises(MemberError) as error:
                await api.list_all(JOBS)
            assert error.value.transient
            await jobs.stop()

    asyncio.run(whole())


def test_all_that_ask_for_the_same_share_one_informer_which_ends_with_the_last(namespace: Namespace) -> None:
    async def whole() -> None:
        api = connect(str(namespace.cluster.kubeconfig), namespace=namespace.name)
        first, second, here = Heard(), Heard(), Informers.here()
        one, other = await asyncio.gather(here.acquire(api, JOBS, first), here.acquire(api, JOBS, second))
        assert one is other
        await here.release(one, first)
        namespace.apply(job("a"))
        await second.hears(("a", False))
        assert not first.told
        await here.release(other, second)
        assert await here.acquire(api, JOBS, first) is not one
        await here.release(here._shared[next(iter(here._shared))][0], first)
        await api.close()

    asyncio.run(whole())


def test_an_object_is_created_once_patched_and_deleted(namespace: Namespace) -> None:
    async def whole() -> None:
        api = connect(str(namespace.cluster.kubeconfig), namespace=namespace.name)
        made = await api.create(JOBS, job("a"))
        with pytest.raises(ApiError) as error:
            await api.create(JOBS, job("a"))
        assert error.value.reason == "AlreadyExists"
        await api.patch(JOBS, "a", {"metadata": {"labels": {"x": "1"}}})
        await api.apply(JOBS, job("a") | {"metadata": {"name": "a", "labels": {"y": "2"}}}, "tests")
        found = await api.get(JOBS, "a")
        assert found is not None
        assert found.metadata.uid == made.metadata.uid
        assert (found.metadata.labels["x"], found.metadata.labels["y"]) == ("1", "2")
        assert await api.delete(JOBS, "a")
        assert not await api.delete(JOBS, "a")
        assert await api.get(JOBS, "a") is None
        await api.close()

    asyncio.run(whole())


@pytest.mark.parametrize("text", ["", "clusters: []", "}{"])
def test_a_kubeconfig_of_no_use_is_said_in_one_line(tmp_path: Path, text: str) -> None:
    file = tmp_path / "kubeconfig"
    file.write_text(text)
    with pytest.raises(MemberUnavailable, match="no cluster can be reached"):
        connect(str(file))
    with pytest.raises(MemberUnavailable, match="there is no kubeconfig"):
        connect(str(tmp_path / "nothing"))
