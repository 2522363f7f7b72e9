"""A plan becomes an ensemble that meets its targets in simulation, or says what is nearest."""

import json
import re
import subprocess
import sys
import textwrap
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml

from ensemble.model.errors import InputError, SpecError
from ensemble.operator.conversion import convert
from ensemble.simulation import simulate
from ensemble.spec.loader import load
from ensemble.studies.measuring.measurement import Measurement
from ensemble.studies.patterns import fit_patterns
from ensemble.studies.planning.experiment import Task, kubernetes_object, write_experiment
from ensemble.studies.planning.plan import read_plan
from ensemble.studies.planning.planner import plan_experiment
from ensemble.studies.planning.reference import reference
from ensemble.studies.planning.wfformat import read_workflow, write_workflow
from ensemble.studies.recipes import catalogue

ROOT = Path(__file__).parents[2]

MIX = """
    members: {local: {cores: 4}}
    mix:
      - {dummy: {duration: [1s, 4s], mpi: [0.1, 0.6]}, share: 0.5}
      - {name: pair, dummy: {duration: [2s, 9s], mpi: [0, 0.5]}, tasks: [1, 2]}
"""


def planned(tmp_path, text):
    path = tmp_path / "plan.yaml"
    path.write_text(textwrap.dedent(text).lstrip())
    return plan_experiment(read_plan(path))


@pytest.mark.parametrize(
    ("structure", "arrivals"),
    [
        ("bag", "start"),
        ("bag", "poisson, every: 1s"),
        ("chains", "start"),
        ("{kind: chains, length: 1}", "bursts, every: 8s, size: 3"),
        ("{kind: fan-out, width: 3}", "poisson, every: 1s"),
        ("{kind: iterate, rounds: 2}", "bursts, every: 8s, size: 3"),
    ],
)
def test_an_ensemble_of_each_shape_runs_as_long_as_planned(tmp_path, structure, arrivals):
    found = planned(
        tmp_path, f"makespan: 90s\nstructure: {structure}\narrivals: {{pattern: {arrivals}}}" + dedented(MIX)
    )
    write_experiment(found, tmp_path / "experiment.yaml", "Made by a test.")
    run = simulate(load(tmp_path / "experiment.yaml")).runs[0]
    assert run.outcome == "success"
    assert run.makespan == pytest.approx(90, rel=0.05)
    assert run.counts["success"] - (arrivals != "start") == found.figures.jobs


def dedented(text):
    return textwrap.dedent(text)


def test_jobs_shares_core_hours_and_mpi_are_met(tmp_path):
    found = planned(tmp_path, "jobs: 40\ncore_hours: 0.05\nmpi: [0.3, 0.35]\nseed: 3" + dedented(MIX))
    assert Counter(task.name for task in found.tasks) == {"dummy": 20, "pair": 20}
    assert found.figures.core_hours == pytest.approx(0.05, rel=0.01)
    assert 0.3 <= found.figures.mpi <= 0.35


def test_kinds_of_a_mix_take_turns_in_their_arrivals(tmp_path):
    found = planned(tmp_path, "jobs: 8\narrivals: {pattern: poisson, every: 2s}" + dedented(MIX))
    arriving = [rule["action"]["label"] for rule in sorted(found.file["rules"], key=lambda rule: rule["seconds"])]
    assert set(arriving[:2]) == set(arriving[-2:]) == {"dummy", "pair"}


def test_a_plan_follows_from_its_seed(tmp_path):
    text = "seed: {}\njobs: 20\nmakespan: 30s" + dedented(MIX).replace("{", "{{").replace("}", "}}")
    one, again, other = (planned(tmp_path, text.format(seed)).file for seed in (1, 1, 2))
    assert one == again
    assert one["jobs"] != other["jobs"]


def test_steps_of_a_chain_are_kinds_of_the_mix_in_their_order(tmp_path):
    text = "jobs: 8\nstructure: {kind: chains, steps: [pair, dummy]}" + dedented(MIX)
    found = planned(tmp_path, text)
    assert [group["name"] for group in found.file["jobs"]] == ["pair", "dummy"]
    assert found.file["rules"][0]["action"] == {"name": "submit", "label": "dummy"}


def test_arrivals_follow_a_trace(tmp_path):
    line = "{} {} -1 {} 1 " + " ".join(["-1"] * 13)
    jobs = [line.format(number, 100 + 10 * number, 5) for number in range(4)]
    (tmp_path / "trace.swf").write_text("; Version: 2.2\n" + line.format(9, 0, -1) + "\n" + "\n".join(jobs))
    text = "jobs: 4\narrivals: {pattern: trace, file: trace.swf, speed: 2}\nmix: [{dummy: {duration: 1s}}]\n"
    found = planned(tmp_path, text)
    assert [rule["seconds"] for rule in found.file["rules"]] == [5.0, 10.0, 15.0]


@pytest.mark.parametrize(
    ("text", "where", "said"),
    [
        ("makespan: 10s\njobs: 40", "1:11", "10s cannot be met by this mix. The nearest is"),
        ("jobs: 10\nmpi: 0.9", "2:6", "90% in MPI cannot be met"),
        ("jobs: 10\nstructure: chains", "1:7", "10 jobs do not make whole families of 3. Nearest is 9"),
        ("jobs: 10\nmakspan: 5s", "2:1", "'makspan' is not a key here. Did you mean makespan?"),
        (
            "jobs: 10\nstructure: {kind: chains, steps: [pear]}",
            "2:12",
            "'pear' is no entry of the mix. Did you mean pair?",
        ),
        ("seed: 3", "1:1", "a plan needs `jobs`, `makespan` or `core_hours`"),
        ("jobs: 10\narrivals: {pattern: poisson}", "2:11", "poisson needs `every`"),
        ("jobs: 10\nmpi: [0.5, 0.2]", "2:6", "the least and the greatest"),
    ],
)
def test_what_cannot_be_is_refused_with_its_place(tmp_path, text, where, said):
    with pytest.raises(SpecError) as refused:
        planned(tmp_path, text + dedented(MIX))
    assert f"plan.yaml:{where}: " in str(refused.value)
    assert said in str(refused.value)


def test_a_makespan_that_the_jobs_cannot_fill_says_how_many_would(tmp_path):
    with pytest.raises(SpecError, match="jobs would meet it") as refused:
        planned(tmp_path, "makespan: 10m\njobs: 12" + dedented(MIX))
    jobs = int(str(refused.value).partition("about ")[2].split()[0])
    assert planned(tmp_path, f"makespan: 10m\njobs: {jobs}" + dedented(MIX)).figures.makespan == pytest.approx(
        600, rel=0.05
    )


def test_the_file_is_plain_yaml(tmp_path):
    found = planned(tmp_path, "jobs: 4" + dedented(MIX))
    write_experiment(found, tmp_path / "experiment.yaml", "Made by a test.")
    text = (tmp_path / "experiment.yaml").read_text()
    assert yaml.safe_load(text) == found.file
    assert "&id" not in text


DIAMOND = {"a": (), "b": ("a",), "c": ("a",), "d": ("b", "c")}


def write_diamond(path):
    tasks = [Task(name, f"step {name}", 2.0, 1 + (name == "d"), parents) for name, parents in DIAMOND.items()]
    write_workflow(path, "diamond", tasks, 6.0, datetime(2026, 1, 1, tzinfo=UTC))
    return tasks


def test_a_workflow_that_was_written_is_read_again(tmp_path):
    tasks = write_diamond(tmp_path / "wf.json")
    assert read_workflow(tmp_path / "wf.json") == tasks


def test_a_workflow_runs_in_the_order_of_its_dependencies(tmp_path):
    write_diamond(tmp_path / "wf.json")
    plan = "makespan: 12s\nhookup: 0\nmembers: {local: {cores: 2}}\nstructure: {kind: workflow, file: wf.json}\n"
    found = planned(tmp_path, plan)
    assert found.figures.makespan == pytest.approx(12)
    assert [task.seconds for task in found.tasks] == pytest.approx([4, 4, 4, 4])


def test_the_jobs_of_a_plan_are_a_workflow(tmp_path):
    found = planned(tmp_path, "jobs: 5\nstructure: {kind: fan-out, width: 3}\nmix: [{dummy: {duration: 1s}}]\n")
    write_workflow(tmp_path / "wf.json", "fan", found.tasks, found.figures.makespan, datetime(2026, 1, 1, tzinfo=UTC))
    last = read_workflow(tmp_path / "wf.json")[-1]
    assert (last.id, last.parents) == ("dummy-last-1", tuple(f"dummy-work-1-{copy}" for copy in (1, 2, 3)))


@pytest.mark.parametrize(
    ("parents", "said"),
    [({"a": ("b",), "b": ("a",)}, "wait for each other: "), ({"a": ("x",)}, "'x', which is no task")],
)
def test_a_workflow_that_cannot_run_is_refused(tmp_path, parents, said):
    names = [*parents, "x"]
    tasks = [Task(name, name, 1.0, 1, parents.get(name, ())) for name in names]
    write_workflow(tmp_path / "wf.json", "bad", tasks, 1.0, datetime(2026, 1, 1, tzinfo=UTC))
    text = (tmp_path / "wf.json").read_text()
    if "x" in said:
        data = json.loads(text)
        for part in ("specification", "execution"):
            data["workflow"][part]["tasks"] = [one for one in data["workflow"][part]["tasks"] if one["id"] != "x"]
        (tmp_path / "wf.json").write_text(json.dumps(data))
    with pytest.raises(InputError, match=said):
        read_workflow(tmp_path / "wf.json")


def test_the_object_for_kubernetes_is_one_that_the_operator_takes(tmp_path):
    found = planned(tmp_path, "jobs: 6\narrivals: {pattern: poisson, every: 2s}\nstructure: chains" + dedented(MIX))
    made = kubernetes_object(found.file, "registry.example.org/dummy:1")
    read = convert(made["metadata"]["name"], made["spec"])
    assert {group.member for group in read.ensemble.jobs} == {"local"}
    assert read.ensemble.members["local"].kind == "job"
    assert read.ensemble.jobs[0].command.startswith("/usr/local/lib/ensemble/dummy ")


def test_the_page_about_plans_is_up_to_date():
    said = "run `python -m ensemble.studies.planning.reference > docs/plans.md`"
    assert (ROOT / "docs/plans.md").read_text() == reference(), said


@pytest.mark.parametrize("document", ["docs/plans.md", "docs/studies.md"])
def test_the_plans_of_the_documents_can_be_met(document, tmp_path):
    fences = re.findall(r"^```yaml\n(.*?)^```", (ROOT / document).read_text(), re.MULTILINE | re.DOTALL)
    plans = [text for text in fences if "makespan:" in text]
    for text in plans:
        planned(tmp_path, text)
    assert plans


def test_a_plan_is_run(tmp_path):
    mix = "mix: [{dummy: {duration: 0.3s, mpi: 0.3}}]"
    plan = f"jobs: 4\nmembers: {{local: {{cores: 2}}}}\nstructure: {{kind: chains, length: 2}}\n{mix}"
    (tmp_path / "plan.yaml").write_text(plan)
    for words in (["study", "plan", "plan.yaml"], ["run", "experiment.yaml"]):
        done = subprocess.run(
            [sys.executable, "-m", "ensemble", *words], cwd=tmp_path, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stdout + done.stderr
    assert "mpi_share" in done.stdout


def lammps_patterns():
    def seconds(tasks, size):
        return 0.2 + size * (0.1 + 0.9 / tasks)

    points = [(tasks, size) for tasks in (1, 2, 4) for size in (1, 2, 4)]
    more = {"cell": "lammps/debian/mpich", "problem": "melt", "iteration": 1, "hookup": 0.3, "time": 1.0}
    return fit_patterns(
        Measurement(tasks=tasks, size=str(size), wall=seconds(tasks, size), mpi_share=0.1, **more)
        for tasks, size in points
    )


CELL = "{cell: lammps/debian/mpich, problem: melt, size: [1, 2], tasks: [1, 2], name: lammps}"


def test_jobs_of_a_cell_take_what_its_pattern_says(tmp_path):
    (tmp_path / "plan.yaml").write_text(f"jobs: 6\nmembers: {{local: {{cores: 2}}}}\nmix: [{CELL}]\n")
    found = plan_experiment(read_plan(tmp_path / "plan.yaml"), lammps_patterns(), catalogue(tmp_path))
    expected = {(1, 1): 1.5, (1, 2): 2.5, (2, 1): 1.05, (2, 2): 1.6}
    points = found.file["jobs"][0]["parameters"]["list"]
    assert all(one["expected"] == pytest.approx(expected[one["tasks"], one["size"]]) for one in points)
    assert found.figures.mpi == pytest.approx(0.1)
    write_experiment(found, tmp_path / "experiment.yaml", "Made by a test.")
    spec = load(tmp_path / "experiment.yaml")
    assert spec.jobs[0].inputs[0].to == "in.melt"
    assert simulate(spec).runs[0].makespan == found.figures.makespan


def test_a_cell_outside_of_its_pattern_is_refused(tmp_path):
    (tmp_path / "plan.yaml").write_text("jobs: 6\nmix: [{cell: lammps/debian/mpich, problem: melt, tasks: 8}]\n")
    with pytest.raises(InputError, match="tasks 8 is outside what was measured"):
        plan_experiment(read_plan(tmp_path / "plan.yaml"), lammps_patterns(), catalogue(tmp_path))


@pytest.mark.parametrize("tasks", ["", ", tasks: 2"])
def test_a_cell_of_one_number_of_tasks_is_planned_with_its_check_of_results(tasks, tmp_path):
    entry = f"{{cell: lammps/debian/mpich, problem: melt, share: 0.5{tasks}}}"
    dummy = "{dummy: {duration: [1s, 4s], mpi: [0.2, 0.4]}, share: 0.5}"
    text = f"name: bag\nseed: 7\njobs: 200\nmembers: {{local: {{cores: 2}}}}\nmix: [{entry}, {dummy}]\n"
    (tmp_path / "plan.yaml").write_text(text)
    found = plan_experiment(read_plan(tmp_path / "plan.yaml"), lammps_patterns(), catalogue(tmp_path))
    assert found.figures.jobs == 200
    assert found.file["jobs"][0]["valid"]


def test_a_size_that_is_no_number_is_refused_where_numbers_were_measured(tmp_path):
    (tmp_path / "plan.yaml").write_text("jobs: 2\nmix: [{cell: lammps/debian/mpich, problem: melt, size: big}]\n")
    with pytest.raises(InputError, match="'big'"):
        plan_experiment(read_plan(tmp_path / "plan.yaml"), lammps_patterns(), catalogue(tmp_path))


@pytest.mark.parametrize("target", ["", "makespan: 60s\n"])
def test_jobs_that_fit_no_member_are_refused(target, tmp_path):
    dummy = "{dummy: {duration: 1s}, tasks: 64}"
    (tmp_path / "plan.yaml").write_text(f"{target}jobs: 4\nmembers: {{local: {{cores: 2}}}}\nmix: [{dummy}]\n")
    with pytest.raises(InputError, match="members: the jobs of this plan cannot run on them"):
        plan_experiment(read_plan(tmp_path / "plan.yaml"))
