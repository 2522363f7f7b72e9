"""Records per second that are durable, against the limit: the same bytes by plain write and fdatasync, in one run."""

import os
import shutil
import tempfile
import time
from pathlib import Path

import msgspec

from ensemble.journal import JournalWriter, read
from ensemble.journal.format import encode_line
from ensemble.model.decisions import Record
from ensemble.model.events import JobEvent

COUNT = 100_000


def records():
    return [Record(n, n * 1e-3, JobEvent("local", f"melt-{n}", "run", n * 1e-3, n)) for n in range(1, COUNT + 1)]


def journaled(folder, group, made):
    run = Path(folder) / f"run-{group}"
    run.mkdir()
    writer = JournalWriter.create(run, "bench")
    began = time.perf_counter()
    for index, record in enumerate(made, 1):
        writer.append(record)
        if index % group == 0:
            writer.sync()
    writer.sync()
    spent = time.perf_counter() - began
    writer.close()
    return spent, run


def plain(folder, group, lines):
    descriptor = os.open(Path(folder) / f"plain-{group}", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    began = time.perf_counter()
    for place in range(0, len(lines), group):
        os.write(descriptor, b"".join(lines[place : place + group]))
        os.fdatasync(descriptor)
    spent = time.perf_counter() - began
    os.close(descriptor)
    return spent


def main():
    folder = tempfile.mkdtemp(dir=".")
    made = records()
    encoder = msgspec.json.Encoder()
    lines = [encode_line(record.seq, encoder.encode(record)) for record in made]
    size = sum(len(line) for line in lines)
    print(f"journal: {COUNT:,} records, durable, against write + fdatasync of the same {size:,} bytes")
    try:
        for group in (100, 1000):
            spent, run = journaled(folder, group, made)
            limit = plain(folder, group, lines)
            print(
                f"  groups of {group:>5}: {COUNT / spent:>9,.0f}/s, {limit / spent:.2f} of the plain {COUNT / limit:,.0f}/s"
                f"  ({COUNT / spent / 100_000:.2f} of the figure to reach, 100,000/s)"
            )
        began = time.perf_counter()
        count = sum(1 for _ in read(run))
        spent = time.perf_counter() - began
        began = time.perf_counter()
        decoder = msgspec.json.Decoder(Record)
        for line in lines:
            decoder.decode(line[line.index(b"{") :])
        limit = time.perf_counter() - began
        print(f"  read back: {count / spent:>9,.0f}/s, {limit / spent:.2f} of decoding alone")
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
