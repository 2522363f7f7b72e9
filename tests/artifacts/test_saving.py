"""A run goes to a registry and comes back, through the command line."""

import io
import tarfile
import zlib

import pytest

from ensemble.artifacts.archive import unpack
from ensemble.artifacts.secret import Secrets, secrets_of
from ensemble.model.errors import ArtifactError, InputError
from ensemble.spec.loader import from_plain


def test_a_run_is_saved_read_back_and_only_then_deleted(here, shared):
    said = here("save", "bag-1", "--push", f"{shared.host}/clean", "--clean")
    assert "saved and verified" in said
    assert not (here.where / "runs" / "bag-1").exists()
    (tag,) = shared.tags("clean")
    assert tag.startswith("bag-work-more-t1-size1.2-local-i1-")
    assert "bag-1" in here("fetch", f"{shared.host}/clean:{tag}")
    assert "no difference" in here("verify", "bag-1")


def test_a_fetched_run_gives_the_same_results_and_files(here, shared):
    results = here("results", "runs/bag-1", "--by", "point")
    saved = here.json("save", "bag-1", "--push", f"{shared.host}/same:mine")
    fetched = here.json("fetch", f"{shared.host}/same:mine", "--to", "copy")
    assert fetched["annotations"]["org.flux-framework.ensemble.outcome"] == "success"
    assert here("results", "copy", "--by", "point") == results
    assert (here.where / "copy" / "jobs" / "work-0" / "stdout").read_text() == "figure=1\n"
    # the copy is the same artifact, and whoever fetches it again is told that it is there
    again = here.json("save", "copy", "--push", f"{shared.host}/same:mine")
    assert (again["digest"], again["sent"]) == (saved["digest"], 0)
    assert here.json("fetch", f"{shared.host}/same:mine", "--to", "copy")["was_here"]


def test_a_run_is_replayed_from_the_registry(here, shared):
    tag = here.json("save", "bag-1", "--push", f"{shared.host}/replay")["reference"]
    said = here("replay", tag)
    assert "submit more (fired once)" in said
    assert "no difference" in said
    assert len(here.json("replay", tag)["points"]) == 3


def test_what_is_marked_secret_never_leaves(here, shared):
    here("save", "bag-1", "--push", f"{shared.host}/secret:it")
    pushed = [path.read_bytes() for path in shared.blobs()]
    pushed += [zlib.decompress(content, 31) for content in pushed if content.startswith(b"\x1f\x8b")]
    assert pushed
    assert not any(b"hunter2" in content for content in pushed)
    here("fetch", f"{shared.host}/secret:it", "--to", "copy")
    assert "no difference" in here("verify", "copy")
    assert (here.where / "copy" / "jobs" / "work-0" / "token.txt").read_text() == "*" * 18 + "\n"


def test_a_secret_that_is_not_known_keeps_everything_here(here, shared):
    text = (here.where / "bag.yaml").read_text().replace("secret: [TOKEN]", "secret: [OTHER]")
    (here.where / "other.yaml").write_text(text)
    here("run", "other.yaml", "--output", "quiet")
    assert "OTHER is marked as secret, and its value is not known" in here(
        "save", "bag-2", "--push", f"{shared.host}/unknown", code=2
    )


def test_a_link_out_of_the_run_is_left_out_and_named(here, shared):
    saved = here.json("save", "bag-1", "--push", f"{shared.host}/links:it")
    assert "jobs/work-0/outside" in [one["path"] for one in saved["left_out"] if not one["lost"]]
    here("fetch", f"{shared.host}/links:it", "--to", "copy")
    assert (here.where / "copy" / "jobs" / "work-0" / "link").is_symlink()


def test_a_run_that_is_alive_is_not_saved(here, shared):
    with here.started("run", here.gated()):
        try:
            said = here("save", "gated-1", "--push", f"{shared.host}/alive", code=2)
        finally:
            here.open_gate()
    assert "is running: only a run that is over is saved" in said


def test_saved_runs_are_compared_from_the_registry(here, shared):
    here("run", "bag.yaml", "--output", "quiet")
    where = [here.json("save", name, "--push", f"{shared.host}/compare")["reference"] for name in ("bag-1", "bag-2")]
    found = here.json("study", "compare", *where)
    assert found["runs"] == ["bag-1", "bag-2"]
    figures = {one["point"]: one["others"][0]["ratio"] for one in found["compared"] if one["quantity"] == "figure"}
    assert figures == {"work [size=1]": 1.0, "work [size=2]": 1.0}
    assert found["different"] == {}
    listed = here("list", "--at", f"{shared.host}/compare")
    assert [line.split()[:3] for line in listed.splitlines()[1:]].count(["bag-2", "success", "3"]) == 1


def archive_of(folder, *entries):
    """An archive of entries: (name, link) is a symbolic link, (name, None) a file."""
    path = folder / "hostile.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for name, link in entries:
            entry = tarfile.TarInfo(name)
            if link is not None:
                entry.type, entry.linkname = tarfile.SYMTYPE, link
            archive.addfile(entry)
    return path


@pytest.mark.parametrize(
    "entries",
    [
        [("../out", None)],
        [("/tmp/out", None)],
        [("a", "../out")],
        [("x/y/l1", "../.."), ("l2", "x/y/l1/..")],
        [("here", "sub"), ("here/file", "x")],
        [("fetched.json", None)],
        [("fetched.json", "journal/1")],
    ],
)
def test_an_archive_that_would_leave_the_runs_directory_is_refused(entries, tmp_path):
    target = tmp_path / "run"
    target.mkdir()
    with pytest.raises(ArtifactError, match="the archive holds"):
        unpack(archive_of(tmp_path, *entries), target)
    assert not (tmp_path / "out").exists()


def test_a_second_archive_is_not_written_through_the_links_of_the_first(tmp_path):
    target = tmp_path / "run"
    (target / "sub").mkdir(parents=True)
    unpack(archive_of(tmp_path, ("link", "sub")), target)
    with pytest.raises(ArtifactError, match="the archive holds"):
        unpack(archive_of(tmp_path, ("link/file", None)), target)


@pytest.mark.parametrize("before", range(64 * 1024 - 24, 64 * 1024 + 2))
def test_a_secret_across_two_pieces_of_a_file_is_taken_out_whole(before):
    values = ("secret-", "secret-and-longer-one")
    content = b"x" * before + b"secret-and-longer-one, secret-" + b"y" * 70_000
    clean = b"".join(Secrets(values).reading(io.BytesIO(content)))
    assert clean == Secrets(values).out_of(content)
    assert b"longer" not in clean


def test_a_secret_that_is_made_from_parameters_is_not_saved():
    group = {"name": "a", "command": "true", "env": {"TOKEN": "{tok}"}, "secret": ["TOKEN"]}
    spec = from_plain({"jobs": [{**group, "parameters": {"tok": ["one-secret"]}}]})
    with pytest.raises(InputError, match="made from parameters"):
        secrets_of(spec)
