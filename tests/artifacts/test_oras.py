"""What `ensemble save` pushes is read, and added to, by the oras command line."""

import json

from tests.artifacts.oras import oras, oras_json


def test_oras_lists_reads_and_pulls_a_saved_run(here, shared, tmp_path):
    here("save", "bag-1", "--push", f"{shared.host}/read:it")
    assert len(oras("repo", "tags", f"{shared.host}/read").split()) == 2
    manifest = json.loads(oras("manifest", "fetch", f"{shared.host}/read:it"))
    assert manifest["artifactType"] == "application/vnd.flux-framework.ensemble.run.v1"
    assert manifest["annotations"]["org.flux-framework.ensemble.size"] == "t1-size1.2"
    oras("pull", f"{shared.host}/read:it", "-o", str(tmp_path / "pulled"))
    names = sorted(path.name for path in (tmp_path / "pulled").iterdir())
    assert names == ["about.json", "environment.json", "journal.tar.gz", "outputs.tar.gz", "results.jsonl"]
    rows = [json.loads(line) for line in (tmp_path / "pulled" / "results.jsonl").read_text().splitlines()]
    assert [row["outcome"] for row in rows] == ["success"] * 3


def test_oras_discovers_a_run_at_the_image_it_is_attached_to_beside_what_oras_attached(here, shared, tmp_path):
    image = f"{shared.host}/image:v1"
    (tmp_path / "file").write_text("an image, as far as a registry can tell")
    oras("push", "--artifact-type", "application/x.image", image, "file", folder=tmp_path)
    oras("attach", "--artifact-type", "application/x.other", image, "file", folder=tmp_path)
    saved = here.json("save", "bag-1", "--push", f"{shared.host}/study", "--attach", image)
    oras("attach", "--artifact-type", "application/x.third", image, "file", folder=tmp_path)
    found = oras_json("discover", image)
    listed = found.get("referrers") or found.get("manifests")
    assert sorted(one["artifactType"].rpartition("/")[2] for one in listed) == [
        "vnd.flux-framework.ensemble.run.v1",
        "x.other",
        "x.third",
    ]
    assert saved["digest"] in [one["digest"] for one in listed]
    # from the image one comes to the run
    assert [one["reference"].rpartition("@")[2] for one in here.json("list", "--at", image)] == [saved["digest"]]
    assert saved["digest"] in here("fetch", image, code=2)
    here("fetch", f"{shared.host}/image@{saved['digest']}", "--to", "copy")
