"""A cell's image, built from packages alone and run; buildah keeps it in a store of the test's own."""

import json
import os
import subprocess
import sys

import pytest

from ensemble.model.errors import EnsembleError, InputError
from ensemble.studies.recipes import building, catalogue
from tests.debian import install

CELL = "netpipe/debian/mpich"
OWN = "applications: {a: {help: h, figure: {name: f}, outputs: {f: '(1)'}, problems: {}, variants: [%s]}}"


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A store of images; oras is a script, so that it need not be compiled."""
    if reason := install({"buildah": "buildah", "mmdebstrap": "mmdebstrap"}):
        pytest.skip(reason)
    where = tmp_path_factory.mktemp("store")
    (where / "storage.conf").write_text(
        f'[storage]\ndriver = "overlay"\ngraphroot = "{where}/g"\nrunroot = "{where}/r"\n'
    )
    (where / "oras").write_text("#!/bin/sh\necho the oras of the test\n")
    (where / "oras").chmod(0o755)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CONTAINERS_STORAGE_CONF", str(where / "storage.conf"))
        patch.setenv("PATH", f"{where}:{os.environ['PATH']}")
        yield where
        buildah("rm", "--all")
        buildah("rmi", "--all", "--force")


@pytest.fixture(scope="module")
def built(store):
    cell = catalogue(store).cell(CELL)
    return building.build(cell, base=building.bootstrap(cell.base))


def buildah(*words):
    done = subprocess.run(["buildah", *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_an_image_that_is_built_again_has_the_same_digest(store, built):
    cell = catalogue(store).cell(CELL)
    assert building.build(cell, base=building.bootstrap(cell.base)) == built


def test_the_image_carries_its_recipe_tools_and_list_of_packages_and_runs_as_a_user(built):
    labels = buildah("inspect", "--type=image", "--format={{.OCIv1.Config.Labels}}", built.image)
    assert f"org.flux-framework.ensemble.recipe:{built.recipe}" in labels
    script = "id -u; oras; ls /usr/local/lib/ensemble; grep -c . /usr/share/ensemble/packages.txt"
    container = buildah("from", built.image).strip()
    user, oras, *tools, packages = buildah("run", "--isolation=chroot", container, "sh", "-c", script).splitlines()
    buildah("rm", container)
    assert (user, oras, tools) == ("1000", "the oras of the test", ["dummy", "interposer.so"])
    assert int(packages) > 100


def test_a_problem_of_the_cell_is_measured_in_the_image_and_found_valid(built, tmp_path):
    words = [sys.executable, "-m", "ensemble", "study", "measure", CELL, "--container", "--tasks", "2", "-o", "json"]
    words += ["--repeat", "1", "--rounds", "1"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    (measured,) = map(json.loads, done.stdout.splitlines())
    assert (measured["valid"], measured["problems"], measured["digest"]) == (True, [], built.recipe), done.stderr
    assert measured["figures"][0]["name"] == "bandwidth"
    assert {"MPI_Send", "MPI_Recv"} <= {call["call"] for call in measured["mpi_calls"]}
    assert buildah("containers", "--quiet", "--filter", f"ancestor={built.image}") == "", "it is removed"


def test_an_image_of_another_architecture_is_refused(store, built):
    container = buildah("from", "scratch").strip()
    buildah("config", "--arch=s390x", container)
    buildah("commit", "--quiet", "--rm", container, "localhost/other")
    with pytest.raises(InputError, match="the image localhost/other is for s390x, and this machine is"):
        building.build(catalogue(store).cell(CELL), base="localhost/other")


def test_a_build_that_fails_says_its_last_words(store, built):
    (store / "recipes.yaml").write_text(OWN % "{run: [echo no room for this >&2; exit 3]}")
    cell = catalogue(store).cell("a/debian/mpich")
    with pytest.raises(EnsembleError, match=r"(?s)build failed: .*no room for this"):
        building.build(cell, base=building.bootstrap(cell.base), quiet=True)


def test_without_a_builder_the_package_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(
        InputError, match=r"buildah or podman is needed for images, and is not installed \(apt-get install buildah\)"
    ):
        building.builder()


def test_an_unpinned_cell_is_not_built(tmp_path):
    (tmp_path / "recipes.yaml").write_text(OWN % "{clones: {b: {url: 'https://example.org/b'}}}")
    with pytest.raises(InputError, match=r"a/debian/mpich is unpinned.*https://example\.org/b has no commit"):
        building.build(catalogue(tmp_path).cell("a/debian/mpich"))
