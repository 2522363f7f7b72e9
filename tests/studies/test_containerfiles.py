"""The Containerfile of every cell, as it was read by eye, and what hadolint says of them.

`ENSEMBLE_REWRITE=1 pytest tests/studies/test_containerfiles.py` writes them anew: read the difference.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ensemble.studies.recipes import catalogue, containerfile

GOLDEN = Path(__file__).parent / "containerfiles"
CATALOGUE = catalogue(GOLDEN)
CELLS = list(CATALOGUE.cells())
IGNORED = {
    "DL3008": "packages of apt are signed by their archive, which keeps no older versions; the image lists what it got",
    "DL3041": "the same for dnf",
    "SC2086": "the options of configure are several words",
}


@pytest.mark.parametrize("application", CATALOGUE.applications)
def test_the_containerfiles_are_those_that_were_read(application):
    cells = [cell for cell in CELLS if cell.application.name == application]
    rule = "# " + "=" * 100 + "\n"
    text = rule.join(containerfile(cell) for cell in cells)
    file = GOLDEN / f"{application}.txt"
    if os.environ.get("ENSEMBLE_REWRITE"):
        file.write_text(text)
    assert text == file.read_text()


def test_every_cell_is_pinned():
    assert {cell.name: cell.unpinned for cell in CELLS if cell.unpinned} == {}


def test_every_application_has_cells():
    assert {cell.application.name for cell in CELLS} == set(CATALOGUE.applications)


def test_hadolint_finds_nothing(tmp_path):
    files = []
    for cell in CELLS:
        files.append(tmp_path / cell.name.replace("/", "-"))
        files[-1].write_text(containerfile(cell))
    linter = Path(sys.executable).parent / "hadolint"
    ignored = [word for rule in IGNORED for word in ("--ignore", rule)]
    done = subprocess.run([linter, "--no-color", *ignored, *files], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_flux_is_put_into_an_image_where_the_base_has_packages_of_it():
    assert "flux-core" in containerfile(CATALOGUE.cell("lammps/spack/openmpi"), flux=True)
    assert "flux-core" not in containerfile(CATALOGUE.cell("lammps/spack/openmpi"))
