"""`ensemble check` of large files, whole command, against what YAML's own C parser takes for the same file alone."""

import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

REACH = 5.0
ROUNDS = 5

PARSE = "import sys, yaml; yaml.compose(open(sys.argv[1], encoding='utf-8'), yaml.CSafeLoader)"


def many_groups(count):
    """A file of 3.7 MB with 18,000 entries."""
    entry = (
        "  - name: group-{0}\n    command: simulate --input data/case-{0}.in --steps 10000 --output out.dat --comment {1}\n"
        "    nodes: 1\n    walltime: 10m\n    count: 2\n"
    )
    return "jobs:\n" + "".join(entry.format(index, "x" * 50) for index in range(count))


def many_values(count):
    """A rule that is there once for each of 3,000 values."""
    return (
        f"jobs:\n  - {{name: work, command: 'work {{x}}', parameters: {{x: {{from: 1, to: {count}}}}}}}\n"
        "rules:\n  - {trigger: metric, for_each: x, when: mean.work.duration > 5, action: {name: submit, label: work}}\n"
    )


def seconds(*words):
    """Time on the clock, and of the processor: on a shared machine the honest one."""
    began, used = time.perf_counter(), processor()
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began, processor() - used


def processor():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main():
    with tempfile.TemporaryDirectory() as folder:
        for name, text in (("18,000 entries", many_groups(18_000)), ("3,000 values", many_values(3_000))):
            file = Path(folder, "ensemble.yaml")
            file.write_text(text)
            checks, parses = [], []
            for _ in range(ROUNDS):
                checks.append(seconds(sys.executable, "-m", "ensemble", "check", str(file)))
                parses.append(seconds(sys.executable, "-c", PARSE, str(file)))
            ratio = statistics.median(check[1] / parse[1] for check, parse in zip(checks, parses, strict=True))
            clock, cpu = (statistics.median(column) for column in zip(*checks, strict=True))
            print(
                f"check of {name} ({len(text) / 1e6:.1f} MB): {clock:.2f} s, {cpu:.2f} s of the processor, "
                f"{ratio:.1f} of YAML's own parser; to reach: {REACH:g} s, {clock / REACH:.2f} of it"
            )


if __name__ == "__main__":
    main()
