"""What the documents say is run: each whole file in them, each verb they name, each link."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"^```yaml\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(name):
    return FENCE.findall((ROOT / name).read_text())


def ensemble(where, *args, **env):
    return subprocess.run(
        [sys.executable, "-m", "ensemble", *args],
        cwd=where,
        env={**os.environ, "ENSEMBLE_HOME": str(where / "home"), **env},
        capture_output=True,
        text=True,
        timeout=120,
    )


FILES = [("README.md", 0), *(("docs/tutorial.md", place) for place in (0, 1, 4, 5))]


@pytest.mark.parametrize(("document", "place"), FILES)
def test_the_files_of_the_documents_run(document, place, tmp_path):
    (tmp_path / "file.yaml").write_text(blocks(document)[place])
    done = ensemble(tmp_path, "run", "file.yaml")
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_rule_of_the_tutorial_fits_the_jobs_before_it(tmp_path):
    _, jobs, _, rules = blocks("docs/tutorial.md")[:4]
    (tmp_path / "file.yaml").write_text(jobs + rules)
    done = ensemble(tmp_path, "check", "file.yaml")
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_traces_of_the_rules_are_what_happens(tmp_path):
    (tmp_path / "file.yaml").write_text(blocks("docs/rules.md")[1].replace("sleep 1,", "'true',"))
    assert ensemble(tmp_path, "run", "file.yaml").returncode == 0
    assert ensemble(tmp_path, "explain", "last").stdout.count("fired after") == 3
    assert re.search(r"^echo +3 +3 ", ensemble(tmp_path, "status").stdout, re.MULTILINE)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_verbs_and_links_of_a_document_exist(document):
    from ensemble.cli.main import VERBS

    text = document.read_text()
    named = re.findall(r"`ensemble ([a-z]+)", text) + re.findall(r"^ensemble ([a-z]+)", text, re.MULTILINE)
    assert [verb for verb in named if verb not in VERBS] == []
    links = re.findall(r"\]\(([^)#:]+)\)", text)
    assert [link for link in links if not (document.parent / link).exists()] == []


def test_the_file_of_the_kubernetes_page_is_one(tmp_path):
    (tmp_path / "file.yaml").write_text(blocks("docs/kubernetes.md")[0])
    done = ensemble(tmp_path, "check", "file.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "warning" not in done.stdout + done.stderr


def test_the_command_of_the_kubernetes_page_runs_on_a_cluster(tmp_path):
    from tests.kubernetes.cluster import TEST_IMAGE, missing, shared

    if missing():
        pytest.skip(missing())
    page = (ROOT / "docs" / "kubernetes.md").read_text()
    command = re.search(r"^    ensemble (run .*IMAGE.*)$", page, re.MULTILINE).group(1).replace("IMAGE", TEST_IMAGE)
    words = [str(ROOT / word) if word.startswith("examples/") else word for word in command.split()]
    with shared().namespace("docs") as namespace:
        namespace.kubeconfig(tmp_path / "kubeconfig")
        done = ensemble(tmp_path, *words, KUBECONFIG=str(tmp_path / "kubeconfig"))
        assert done.returncode == 0, done.stdout + done.stderr
        assert len(namespace.created("jobs")) == 10
    assert ensemble(tmp_path, "logs", "last", "echo-0").stdout == "hello world\n"
