"""The report of a study is one page that needs nothing else, with a picture for each thing it tells."""

import re
import xml.etree.ElementTree as ET

import pytest

from ensemble.model.errors import InputError
from ensemble.studies.measuring.measurement import Figure, Measurement, MpiCall
from ensemble.studies.page import study_page
from ensemble.studies.patterns import fit_patterns
from ensemble.studies.pictures import gantt


def runs_of(cell):
    for size in ("1", "2"):
        for tasks in (1, 2, 4):
            for iteration in range(2):
                wall = (0.2 + float(size) * (0.1 + 2 / tasks)) * (1 + 0.02 * iteration)
                yield Measurement(
                    cell=cell,
                    problem="melt",
                    size=size,
                    tasks=tasks,
                    iteration=iteration,
                    wall=wall,
                    hookup=0.1 + 0.01 * iteration,
                    fom=Figure("steps_per_second", 100 / wall, "step/s"),
                    mpi_share=0.05 * tasks,
                    mpi_calls=tuple(MpiCall(f"MPI_{name}", 10, 1.0 / place, 100) for place, name in CALLS),
                    disturbed=iteration == 1 and tasks == 4,
                    time=1.0,
                )


CALLS = list(enumerate(("Allreduce", "Send", "Wait", "Bcast", "Barrier", "Irecv", "Gather", "Scan"), 1))
MEASURED = [*runs_of("lammps/debian/mpich"), *runs_of("lammps/debian/openmpi")]
ROWS = [{"key": f"a-{n}", "group": "ab"[n % 2], "started": 100.0 + n // 2, "duration": 1.0} for n in range(8)]


def test_the_page_has_its_pictures_and_needs_no_other_file():
    page = study_page("study <1>", MEASURED, fit_patterns(MEASURED), {"bag-1": ROWS})
    pictures = re.findall(r"<svg.*?</svg>", page, re.DOTALL)
    assert len(pictures) == 2 * 2 + 2 * 3 + 1 + 1
    for picture in pictures:
        ET.fromstring(picture)
    assert "study &lt;1&gt;" in page
    assert not re.search(r"(src|href)=[\"'](?!#)", page)
    for word in ("MPI_Allreduce", "others", "size 2", "hook-up (s)", "steps_per_second (step/s)"):
        assert word in page


def test_jobs_that_overlap_are_drawn_in_lanes_of_their_own():
    assert "jobs at a time" in gantt(ROWS)


def test_a_run_without_a_job_that_began_is_not_drawn():
    with pytest.raises(InputError, match="nothing to draw"):
        gantt([{"key": "a-0", "group": "a", "outcome": "cancelled"}])


def test_a_page_is_the_same_each_time():
    assert study_page("s", MEASURED, fit_patterns(MEASURED), {}) == study_page(
        "s", MEASURED, fit_patterns(MEASURED), {}
    )
