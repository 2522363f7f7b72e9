"""What counts as disturbed, and what is read from a job's notes."""

from __future__ import annotations

import pytest

from ensemble.studies.measuring.disturbance import Machine, machine_between, reasons
from ensemble.studies.measuring.environment import environment
from ensemble.studies.measuring.notes import read_notes

STAT = "cpu {user} 0 0 {idle} 0 0 0 {steal} 0 0"


def notes(*lines: str) -> list[str]:
    return [f"#ensemble {line}\n" for line in lines]


@pytest.mark.parametrize(
    ("machine", "says"),
    [
        (Machine(run_delay=0.031), "a rank waited for a core for 3.1% of its time"),
        (Machine(others=0.5), "other programs used 50.0% of the cores"),
        (Machine(steal=0.03), "other virtual machines used 3.0% of the cores"),
        (Machine(canary=0.012), "the machine was 20% slower than it can be"),
    ],
)
def test_each_sign_disturbs_alone_and_says_how_much(machine: Machine, says: str) -> None:
    assert reasons(machine, quiet=0.010) == [says]


def test_a_quiet_machine_and_one_that_says_nothing_disturb_nothing() -> None:
    assert reasons(Machine(run_delay=0.01, others=0.02, steal=0.0, canary=0.0105), quiet=0.010) == []
    assert reasons(Machine(), quiet=0.0) == []


def test_the_job_s_own_time_is_not_that_of_others() -> None:
    own = "({name}) S 1 1 1 0 -1 0 0 0 0 0 0 0 {ticks} 0 20 0 1 0 0"
    found = read_notes(
        notes(
            "before /proc/stat " + STAT.format(user=100, idle=900, steal=0),
            "before /proc/77/stat 77 " + own.format(name="sh x) y", ticks=10),
            "before time 10.0",
            "after /proc/stat " + STAT.format(user=250, idle=940, steal=10),
            "after /proc/77/stat 77 " + own.format(name="sh x) y", ticks=110),
            "after time 11.0",
        )
    )
    machine = machine_between(found.before, found.after, ())
    assert (machine.busy, machine.others, machine.steal) == (0.75, 0.25, 0.05)


def test_notes_are_found_after_output_without_a_newline_and_damaged_ones_are_left_out() -> None:
    found = read_notes(["no newline#ensemble about cell a/b/c\n", *notes("rank {", "before canary soon", "odd")])
    assert (found.about, found.ranks, found.before.canary) == ({"cell": "a/b/c"}, (), 0.0)


def test_an_environment_keeps_what_the_machine_shows_and_leaves_out_the_rest() -> None:
    found = environment(
        read_notes(
            notes(
                "environment uname Linux n1 6.1 x86_64",
                "environment cpuinfo model name\t: EPYC",
                "environment cpuinfo flags\t\t: fpu avx2 hypervisor",
                "environment meminfo MemTotal:  1000 kB",
                'environment file /etc/os-release:PRETTY_NAME="Debian 12"',
                "environment file /sys/kernel/mm/transparent_hugepage/enabled:always [madvise] never",
                "environment file /sys/class/net/eth0/speed:25000",
                "environment file /sys/devices/system/cpu/cpu0/cache/index0/level:1",
                "environment file /sys/devices/system/cpu/cpu0/cache/index0/type:Data",
                "environment file /sys/devices/system/cpu/cpu0/cache/index0/size:32K",
            )
        )
    )
    assert found == {
        "host": "n1",
        "kernel": "Linux 6.1",
        "machine": "x86_64",
        "os": "Debian 12",
        "cpu": {"model": "EPYC", "features": ["avx2", "hypervisor"], "caches": {"L1d": "32K"}},
        "memory": 1_024_000,
        "huge_pages": "madvise",
        "network": {"eth0": "25000 Mbit/s"},
    }
