"""Recipes: what is refused and where, which parts fit together, and the Containerfile of every cell."""

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from ensemble.cli.study.matrix import command as matrix
from ensemble.model.errors import InputError, SpecError
from ensemble.studies.recipes import catalogue, containerfile, digest
from ensemble.studies.recipes.reader import read_recipes
from ensemble.studies.recipes.reference import reference

ROOT = Path(__file__).parents[2]

OWN = """
applications:
  pi:
    help: Digits of pi.
    needs: [{needs}]
    figure: {{name: digits, unit: 1/s}}
    outputs: {{digits: '([0-9]+) digits'}}
    {key}: digits > 3
    variants:
      - packages: [bc]
    problems:
      short: {{help: A few digits., command: 'bc -l'}}
"""


def own(where, needs="apt", key="valid"):
    file = where / "recipes.yaml"
    file.write_text(OWN.format(needs=needs, key=key))
    return file


def test_a_recipe_of_ones_own_is_one_file_beside_the_ensemble_file(tmp_path):
    own(tmp_path)
    cell = catalogue(tmp_path).cell("pi/debian/openmpi")
    assert "bc && \\" in containerfile(cell)
    assert cell.reach == "packages"


def test_a_typo_is_refused_with_its_place_and_the_nearest_name(tmp_path):
    file = own(tmp_path, key="vaild")
    with pytest.raises(SpecError) as refused:
        read_recipes(file)
    place = f"{file}:8:5: applications.pi"
    assert str(refused.value) == f"{place}: 'vaild' is not a key here. Did you mean valid?"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("digits, unit", "digit, unit", "'digit' is not among the outputs. Did you mean digits?"),
        ("digits > 3", "digts > 3", "'digts' is not a figure of this group. Did you mean digits?"),
        ("packages: [bc]", "run: ['a\n\n        b']", "a command has one line"),
        ("packages: [bc]", "clones: {a: {url: u, commit: main}}", "'main' is not a commit. It has 40 hexadecimal"),
        ("packages: [bc]", "downloads: {a: {url: u, sha256: 12}}", "'12' is not a SHA-256 checksum"),
        ("  pi:", "  Pi:", "'Pi' cannot be a name"),
    ],
)
def test_what_is_wrong_is_said(tmp_path, old, new, said):
    file = own(tmp_path)
    file.write_text(file.read_text().replace(old, new))
    with pytest.raises(SpecError, match=r"recipes.yaml:\d+:\d+: ") as refused:
        read_recipes(file)
    assert said in str(refused.value)


def test_a_cell_that_cannot_exist_says_which_need_is_unmet(tmp_path):
    own(tmp_path, needs="quantum")
    with pytest.raises(InputError, match="pi needs quantum, which no other part provides"):
        catalogue(tmp_path).cell("pi/debian/openmpi")


def test_an_unknown_part_gets_the_nearest_name():
    with pytest.raises(InputError, match=r"there is no MPI 'mpch'\. Did you mean mpich\?"):
        catalogue().cell("lammps/debian/mpch")


def test_a_name_is_taken_only_once(tmp_path):
    file = own(tmp_path)
    file.write_text(file.read_text().replace("pi:", "lammps:"))
    with pytest.raises(InputError, match="there is a recipe 'lammps' already"):
        catalogue(tmp_path)


def test_what_is_fetched_without_a_checksum_is_named(tmp_path):
    file = own(tmp_path)
    fetched = "downloads: {a: {url: 'https://example.org/a'}}\n        clones: {b: {url: 'https://example.org/b'}}"
    file.write_text(file.read_text().replace("packages: [bc]", fetched))
    cell = catalogue(tmp_path).cell("pi/debian/openmpi")
    assert cell.unpinned == ["pi: https://example.org/a has no sha256", "pi: https://example.org/b has no commit"]


def test_the_digest_follows_the_recipe(tmp_path):
    file = own(tmp_path)
    before = digest(catalogue(tmp_path).cell("pi/debian/openmpi"))
    assert digest(catalogue(tmp_path).cell("pi/debian/openmpi")) == before
    file.write_text(file.read_text().replace("[bc]", "[bc, dc]"))
    assert digest(catalogue(tmp_path).cell("pi/debian/openmpi")) != before


def test_the_recipe_of_the_documentation_is_one(tmp_path):
    text = (ROOT / "docs" / "studies.md").read_text()
    (recipe,) = re.findall(r"^```yaml\n(applications:.*?)^```", text, re.MULTILINE | re.DOTALL)
    (tmp_path / "recipes.yaml").write_text(recipe)
    assert catalogue(tmp_path).cell("sleepy/debian/mpich").unpinned == []


def test_the_reference_of_recipes_is_current():
    said = "run `python -m ensemble.studies.recipes.reference > docs/recipes.md`"
    assert (ROOT / "docs" / "recipes.md").read_text() == reference(), said


def test_recipes_of_another_package_are_found_by_their_entry_point(tmp_path, monkeypatch):
    package = tmp_path / "tests_recipes_of_others"
    package.mkdir()
    (package / "__init__.py").touch()
    own(package).rename(package / "mine.yaml")
    info = tmp_path / "others-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: others\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[ensemble.recipes]\nothers = tests_recipes_of_others\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert "pi" in catalogue(package).applications


def test_the_matrix_is_listed_and_checked(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    listed = CliRunner().invoke(matrix, ["lammps", "debian", "mpich"])
    assert listed.output.splitlines()[1].split()[:3] == ["lammps/debian/mpich", "packages", "yes"]
    assert CliRunner().invoke(matrix, ["--check"]).exit_code == 0
    file = own(tmp_path)
    file.write_text(file.read_text().replace("packages: [bc]", "clones: {b: {url: 'https://example.org/b'}}"))
    checked = CliRunner().invoke(matrix, ["--check", "pi", "mpich"])
    assert checked.exit_code == 1
    assert "pi/debian/mpich: pi: https://example.org/b has no commit" in checked.output
