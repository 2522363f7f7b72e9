"""The journal: what is synced is read back, whatever was torn, flipped, fenced or full."""

import errno
import os
import shutil
import subprocess
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ensemble.journal import JournalWriter, load, read, repair, segments, write_snapshot, writer_of
from ensemble.journal.format import directory
from ensemble.model.decisions import Firing, Record, Span, Submit, Upkeep
from ensemble.model.errors import Fenced, JournalCorrupt, JournalError, JournalFull
from ensemble.model.events import JobEvent, TimerFired


def record(seq):
    event = JobEvent("local", f"a-{seq}", "run", time=1.5, n=seq)
    steps = (Firing("r", {"x": 1.0}, (Submit(seq, "local", (Span("a", 0, seq, 1),)),)),)
    return Record(seq, float(seq), event, steps)


def written(tmp_path, count=5, name="run"):
    run = tmp_path / name
    run.mkdir()
    writer = JournalWriter.create(run, "r-1")
    for seq in range(1, count + 1):
        writer.append(record(seq))
        writer.sync()
    writer.close()
    return run


def only_segment(run):
    return segments(run)[-1].path


def test_what_is_synced_is_read_back(tmp_path):
    run = written(tmp_path, 5)
    assert list(read(run)) == [record(seq) for seq in range(1, 6)]
    assert list(read(run, after=3)) == [record(4), record(5)]


def test_what_is_not_synced_is_not_there(tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    writer = JournalWriter.create(run, "r-1")
    writer.append(record(1))
    writer.sync()
    writer.append(record(2))
    writer.abandon()
    assert list(read(run)) == [record(1)]


def test_a_journal_cut_at_any_byte_keeps_every_whole_record_and_can_be_taken_over(tmp_path):
    run = written(tmp_path, 4)
    path = only_segment(run)
    content = path.read_bytes()
    start = content.index(b"\n") + 1
    for cut in range(start, len(content) + 1):
        path.write_bytes(content[:cut])
        whole = content[start:cut].count(b"\n")
        warnings = []
        assert [r.seq for r in read(run, warn=warnings.append)] == list(range(1, whole + 1))
        assert bool(warnings) == (content[:cut][-1:] != b"\n")
        copy = tmp_path / "copy"
        shutil.copytree(run, copy)
        writer = JournalWriter.take_over(copy)
        assert writer.seq == whole
        writer.append(record(whole + 1))
        writer.sync()
        writer.close()
        assert [r.seq for r in read(copy)] == list(range(1, whole + 2))
        shutil.rmtree(copy)


def test_no_flipped_byte_goes_unnoticed(tmp_path):
    run = written(tmp_path, 3)
    path = only_segment(run)
    content = path.read_bytes()
    start = content.index(b"\n") + 1
    good = [record(seq) for seq in range(1, 4)]
    for place in range(start, len(content)):
        path.write_bytes(content[:place] + bytes([content[place] ^ 0x20]) + content[place + 1 :])
        warnings = []
        try:
            found = list(read(run, warn=warnings.append))
        except JournalCorrupt:
            continue
        assert found == good[: len(found)]
        assert warnings, f"byte {place} changed and nobody noticed"


def test_damage_in_the_middle_is_named_and_repaired_without_destroying_anything(tmp_path):
    run = written(tmp_path, 5)
    path = only_segment(run)
    content = bytearray(path.read_bytes())
    third = content.index(b"\n3 ") + 30
    content[third] ^= 1
    path.write_bytes(content)
    with pytest.raises(JournalCorrupt, match="repair"):
        list(read(run))
    with pytest.raises(JournalCorrupt):
        JournalWriter.take_over(run)
    report = repair(run)
    assert (report.kept, report.lost) == (2, 2)
    assert path.read_bytes() == bytes(content)
    assert [r.seq for r in read(run)] == [1, 2]
    assert repair(run).damaged == ""


def test_a_second_writer_fences_the_first(tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    first = JournalWriter.create(run, "r-1")
    first.append(record(1))
    first.sync()
    second = JournalWriter.take_over(run)
    first.append(record(2))
    with pytest.raises(Fenced):
        first.sync()
    with pytest.raises(Fenced):
        first.append(record(3))
    second.append(record(2))
    second.sync()
    assert [r.seq for r in read(run)] == [1, 2]
    assert writer_of(run).epoch == 2
    second.close()


def test_bytes_beyond_the_accepted_length_are_void(tmp_path):
    run = written(tmp_path, 2)
    first = only_segment(run)
    JournalWriter.take_over(run).close()
    with first.open("ab") as file:
        file.write(b"3 00000000 {}\nmore")
    assert [r.seq for r in read(run)] == [1, 2]


def test_a_read_only_directory_is_refused_with_its_name(tmp_path):
    run = tmp_path / "run"
    run.write_text("a file, not a directory")
    with pytest.raises(JournalError, match="journal"):
        JournalWriter.create(run, "r-1")


@pytest.fixture
def tiny_disk(tmp_path):
    place = tmp_path / "tiny"
    place.mkdir()
    mount = shutil.which("mount")
    done = mount and subprocess.run(
        [mount, "-t", "tmpfs", "-o", "size=512k", "none", str(place)], capture_output=True, text=True, check=False
    )
    if not done or done.returncode:
        pytest.skip(f"cannot mount a tmpfs here: {done.stderr.strip() if done else 'no mount'}")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_full_disk_stops_the_writer_and_the_reserve_holds_its_last_words(tiny_disk):
    run = tiny_disk / "run"
    run.mkdir()
    writer = JournalWriter.create(run, "r-1")
    with pytest.raises(JournalFull):
        for seq in range(1, 10_000):
            writer.append(record(seq))
            writer.sync()
    durable = writer.durable
    with pytest.raises(JournalFull):
        writer.append(record(durable + 1))
    assert writer.write_last_words(Record(durable + 1, 9e9, TimerFired()))
    writer.abandon()
    found = [r.seq for r in read(run)]
    assert found == list(range(1, durable + 2))


def test_a_failed_sync_poisons_the_writer(tmp_path, monkeypatch):
    run = tmp_path / "run"
    run.mkdir()
    writer = JournalWriter.create(run, "r-1")
    writer.append(record(1))

    def fail(_descriptor):
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", fail)
        with pytest.raises(JournalError):
            writer.sync()
    with pytest.raises(JournalError):
        writer.append(record(2))
    with pytest.raises(JournalError):
        writer.sync()
    writer.abandon()


def test_snapshots_bound_what_is_read_and_a_bad_one_is_passed_over(tmp_path):
    run = written(tmp_path, 6)
    write_snapshot(run, 2, {"at": 2})
    write_snapshot(run, 4, {"at": 4})
    loaded = load(run)
    assert (loaded.snapshot_seq, loaded.snapshot) == (4, {"at": 4})
    assert [r.seq for r in loaded.records] == [5, 6]
    newest = directory(run) / "snapshot.000000000004"
    newest.write_bytes(newest.read_bytes()[:-1])
    loaded = load(run)
    assert loaded.snapshot_seq == 2
    assert loaded.warnings


def test_appending_goes_on_while_another_thread_syncs(tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    writer = JournalWriter.create(run, "r-1")
    done = threading.Event()

    def sync():
        while not done.is_set():
            writer.sync()

    thread = threading.Thread(target=sync)
    thread.start()
    for seq in range(1, 3001):
        writer.append(record(seq))
    done.set()
    thread.join()
    writer.close()
    assert [r.seq for r in read(run)] == list(range(1, 3001))


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=30), st.floats(allow_nan=False, allow_infinity=False), st.integers(0, 2**53))
def test_any_record_survives_the_journal(tmp_path_factory, text, at, n):
    run = tmp_path_factory.mktemp("run")
    one = Record(1, at, JobEvent("m", text, "run", time=at, n=n, text=text), (Upkeep((), text),))
    writer = JournalWriter.create(run, text)
    writer.append(one)
    writer.close()
    assert list(read(run)) == [one]


def test_a_journal_of_format_1_is_still_read():
    golden = Path(__file__).parent / "golden" / "format-1"
    assert [r.seq for r in read(golden)] == [1, 2, 3, 4]
    assert next(read(golden)) == record(1)
    assert [segment.header.epoch for segment in segments(golden)] == [1, 2]
