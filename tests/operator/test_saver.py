"""What a service pod says while a registry loses and corrupts what it was given."""

import asyncio
from types import SimpleNamespace

import pytest

from ensemble.artifacts import saving as artifacts
from ensemble.operator import saving
from ensemble.operator.resource import ArtifactsSpec
from tests.artifacts.conftest import made, registry  # noqa: F401 - fixtures


class Run:
    """A run that is over."""

    def __init__(self, run_dir):
        self.run_dir, self.busy, self.news = run_dir, False, asyncio.Event()

    async def status(self, points):
        return SimpleNamespace(state="over")

    async def changed(self):
        await self.news.wait()
        self.news.clear()

    def wake(self):
        self.news.set()


@pytest.fixture
def corrupted(registry, monkeypatch):  # noqa: F811
    """The registry corrupts what is pushed first."""
    push = artifacts.push

    def once(*words, **more):
        pushed = push(*words, **more)
        monkeypatch.setattr(artifacts, "push", push)
        archive = next(path for path in registry.blobs() if path.read_bytes().startswith(b"\x1f\x8b"))
        archive.write_bytes(b"x" * archive.stat().st_size)
        return pushed

    monkeypatch.setattr(artifacts, "push", once)
    return registry


def test_a_copy_that_is_damaged_is_told_as_pushed_and_not_verified(made, corrupted, tmp_path):  # noqa: F811
    async def follow():
        run = Run(made / "runs" / "bag-1")
        saver = saving.Saver(run, tmp_path, lambda *_: None)
        assert saver.conditions() == []
        saver.want(ArtifactsSpec(push=f"{corrupted.host}/study"))
        task = asyncio.create_task(saver.run())
        while saver.conditions()[1].reason != "VerificationFailed":
            await run.changed()
        task.cancel()
        return saver

    saver = asyncio.run(follow())
    pushed, verified = saver.conditions()
    assert (pushed.type, pushed.status, verified.type, verified.status) == ("Pushed", True, "Verified", False)
    assert "is damaged" in verified.message
    assert saver.artifact == ""
