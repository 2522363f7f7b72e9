"""Registries that refuse, die, lose, corrupt or have no room: nothing is called saved, and nothing is cleaned up."""

import os

import pytest
from click.testing import CliRunner

from ensemble.artifacts import packing, saving
from ensemble.artifacts import registry as client
from ensemble.artifacts.fetching import fetch
from ensemble.artifacts.manifest import Descriptor
from ensemble.cli.save import command as save
from ensemble.model.errors import ArtifactError, Refused
from ensemble.runs.local import LocalRun
from tests.artifacts.cutting import cutting
from tests.disks import disk, fill

NO_WAITS = (0.0,) * 3


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    """What is repeated is repeated at once."""
    monkeypatch.setattr(client, "WAITS", NO_WAITS)
    monkeypatch.setattr(client.Registry.__init__, "__kwdefaults__", {"plain_http": False, "waits": NO_WAITS})


@pytest.fixture
def run(here):
    return LocalRun(here.where / "runs" / "bag-1")


def push(run, where, **more):
    with packing.pack(run) as package:
        return saving.push(package, where, **more)


def cleaned(run, where):
    """What `--clean` says when it must not clean."""
    done = CliRunner().invoke(save, [run.path, "--push", where, "--clean"])
    assert isinstance(done.exception, ArtifactError)
    assert run.run_dir.is_dir()
    return str(done.exception)


def test_no_registry(run, registry):
    registry.stop()
    assert "cannot be reached" in cleaned(run, f"{registry.host}/study")


def test_a_registry_that_dies_in_the_middle_of_a_push(run, registry):
    with cutting(registry.host) as way:
        way.cut, way.times = b"PATCH", 100
        assert "broke the connection" in cleaned(run, f"{way.host}/study")


def test_a_registry_that_dies_and_comes_back_costs_nothing_but_time(run, registry, monkeypatch):
    deaths = []

    def die(*_):
        if len(deaths) < 2:
            deaths.append(registry.stop())
        return send(*_)

    send = client._Upload.send
    monkeypatch.setattr(client._Upload, "send", die)
    monkeypatch.setattr(client.time, "sleep", lambda _: registry.process or registry.start())
    with packing.pack(run) as package:
        saving.verify(package, saving.push(package, f"{registry.host}/study"))
    assert len(deaths) == 2


def test_an_upload_that_breaks_goes_on_where_it_broke(registry, monkeypatch):
    monkeypatch.setattr(client, "CHUNK", 1000)
    content = os.urandom(4500)
    blob = Descriptor.of("application/x", content)
    with cutting(registry.host) as way, client.Registry(way.host) as here:
        way.cut, way.times = b"PATCH", 1
        assert here.push_blob("study", blob, content) == len(content)
        # one of the six was cut off before it came through
        assert len([line for line in way.seen if line.startswith(b"PATCH")]) == 6
        assert len([line for line in way.seen if line.startswith(b"POST")]) == 1


def test_an_upload_that_the_registry_has_lost_begins_anew(registry, monkeypatch):
    monkeypatch.setattr(client, "CHUNK", 100_000)
    content = os.urandom(250_000)
    with cutting(registry.host) as way, client.Registry(way.host) as here:
        # in the middle of a piece: this registry then no longer knows what it has
        way.cut, way.times, way.after = b"PATCH", 1, 30_000
        assert here.push_blob("study", Descriptor.of("application/x", content), content) == len(content)
        assert here.has_blob("study", Descriptor.of("application/x", content).digest)


def test_a_blob_that_the_registry_corrupts_is_found_before_anything_is_cleaned_up(run, registry, monkeypatch):
    pushing = saving.push

    def corrupt(*words, **more):
        pushed = pushing(*words, **more)
        for path in registry.blobs():
            if path.stat().st_size > 500 and path.read_bytes()[:1] == b"\x1f":
                path.write_bytes(path.read_bytes()[:-1] + b"x")
        return pushed

    monkeypatch.setattr(saving, "push", corrupt)
    assert "is damaged" in cleaned(run, f"{registry.host}/study:it")
    with pytest.raises(ArtifactError, match="is damaged"):
        fetch(f"{registry.host}/study:it", str(run.run_dir.parent / "copy"))
    assert os.listdir(run.run_dir.parent) == ["bag-1"]


def test_a_registry_without_room(run, tmp_path, registry):
    registry.stop()
    with disk(tmp_path / "small", 1 << 20) as registry.folder:
        registry.start()
        filler = fill(registry.folder)
        try:
            assert "a full disk" in cleaned(run, f"{registry.host}/study")
            filler.unlink()
            push(run, f"{registry.host}/study")
        finally:
            registry.stop()


def test_no_room_here(run, shared, tmp_path, monkeypatch):
    with disk(tmp_path / "small", 1 << 20) as small:
        fill(small)
        monkeypatch.setattr("tempfile.tempdir", str(small))
        assert "No space left on device" in cleaned(run, f"{shared.host}/room")


def test_a_run_that_is_pushed_twice_is_there_once(run, shared):
    first = push(run, f"{shared.host}/twice")
    second = push(run, f"{shared.host}/twice")
    assert (second.reference, second.sent) == (first.reference, 0)
    assert len(shared.tags("twice")) == 1


@pytest.fixture
def other(here):
    """Another run of the same ensemble."""
    here("run", "bag.yaml", "--output", "quiet")
    return LocalRun(here.where / "runs" / "bag-2")


def test_a_tag_of_another_run_is_not_taken(run, other, shared):
    push(run, f"{shared.host}/taken:mine")
    with pytest.raises(Refused, match=r"holds the run bag-1 .* leave the tag out"):
        push(other, f"{shared.host}/taken:mine")


def test_of_two_pushes_to_one_tag_at_once_both_are_kept_and_only_one_is_verified(run, other, shared):
    where = f"{shared.host}/both:mine"
    with packing.pack(run) as one, packing.pack(other) as two:
        first = saving.push(one, where)
        second = saving.push(two, where, force=True)
        saving.verify(two, second)
        with pytest.raises(ArtifactError, match="Another push has taken the tag; the run is at "):
            saving.verify(one, first)
    assert len(shared.tags("both")) == 3
    assert not fetch(str(first.reference), str(run.run_dir.parent / "copy")).was_here
