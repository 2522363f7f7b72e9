"""Following a journal: what comes is given once, in order, at the cost of what is new."""

from pathlib import Path

from ensemble.journal import Follower, JournalWriter, follow
from ensemble.model.decisions import Record
from ensemble.model.events import Fault, RunStarted


def _write(journal: JournalWriter, first: int, last: int) -> None:
    for seq in range(first, last + 1):
        event = RunStarted("r", {}, "0") if seq == 1 else Fault("note", str(seq))
        journal.append(Record(seq, float(seq), event))
    journal.sync()


def _seqs(follower: Follower, upto: int | None = None) -> list[int]:
    return [record.seq for record in follower.new(upto)]


def test_each_record_is_given_once_as_it_comes(tmp_path: Path) -> None:
    journal = JournalWriter.create(tmp_path, "r", "0")
    _write(journal, 1, 3)
    follower = Follower(tmp_path)
    assert _seqs(follower) == [1, 2, 3]
    assert _seqs(follower) == []
    _write(journal, 4, 5)
    assert _seqs(follower) == [4, 5]


def test_a_reader_that_stops_goes_on_where_it_stopped(tmp_path: Path) -> None:
    journal = JournalWriter.create(tmp_path, "r", "0")
    _write(journal, 1, 6)
    follower = Follower(tmp_path, after=1)
    assert next(follower.new()).seq == 2
    assert _seqs(follower, upto=4) == [3, 4]
    assert _seqs(follower) == [5, 6]


def test_it_goes_on_with_the_next_writer(tmp_path: Path) -> None:
    journal = JournalWriter.create(tmp_path, "r", "0")
    _write(journal, 1, 3)
    follower = Follower(tmp_path)
    assert _seqs(follower) == [1, 2, 3]
    journal.close()
    _write(JournalWriter.take_over(tmp_path, "0"), 4, 6)
    assert _seqs(follower) == [4, 5, 6]


def test_half_a_line_is_left_until_it_is_whole(tmp_path: Path) -> None:
    journal = JournalWriter.create(tmp_path, "r", "0")
    _write(journal, 1, 2)
    path = next((tmp_path / "journal").glob("journal.*[0-9]"))
    whole = path.read_bytes().rstrip(b"\0")
    _write(journal, 3, 3)
    journal.close()
    full = path.read_bytes()
    path.write_bytes(full[: len(whole) + 7])
    follower = Follower(tmp_path)
    assert _seqs(follower) == [1, 2]
    path.write_bytes(full)
    assert _seqs(follower) == [3]


def test_following_ends_when_it_is_over(tmp_path: Path) -> None:
    journal = JournalWriter.create(tmp_path, "r", "0")
    _write(journal, 1, 4)
    assert [record.seq for record in follow(tmp_path, 2, over=lambda: True)] == [3, 4]


def test_what_comes_late_in_a_long_journal_is_found_without_reading_all(tmp_path: Path, monkeypatch) -> None:
    from ensemble.journal import reader

    journal = JournalWriter.create(tmp_path, "r", "0")
    _write(journal, 1, 300)
    journal.append(Record(301, 301.0, Fault("large", "x" * 5000)))
    _write(journal, 302, 600)
    monkeypatch.setattr(reader, "_CHUNK", 1000)
    for after in (0, 1, 5, 299, 300, 301, 302, 599, 600, 700):
        assert [record.seq for record in reader.read(tmp_path, after)] == list(range(after + 1, 601))
    segment = reader.segments(tmp_path)[-1]
    assert reader.lines_from(segment, 290).offset > 10_000


def test_a_gap_before_what_is_asked_for_is_noticed(tmp_path: Path) -> None:
    import pytest

    from ensemble.journal import read
    from ensemble.model.errors import JournalCorrupt

    journal = JournalWriter.create(tmp_path, "r", "0")
    journal.append(Record(5, 5.0, Fault("late")))
    journal.sync()
    with pytest.raises(JournalCorrupt, match="record 5 comes first where 1 should"):
        list(read(tmp_path))


def test_a_writer_that_takes_over_reads_only_what_is_not_known(tmp_path: Path, monkeypatch) -> None:
    from ensemble.journal import reader

    journal = JournalWriter.create(tmp_path, "r", "0")
    _write(journal, 1, 600)
    journal.close()
    monkeypatch.setattr(reader, "_CHUNK", 1000)
    after = JournalWriter.take_over(tmp_path, "0", known=590)
    assert (after.header.last_seq, after.header.accepted) == (600, reader.segments(tmp_path)[0].end)
    _write(after, 601, 602)
    assert [record.seq for record in reader.read(tmp_path)] == list(range(1, 603))
