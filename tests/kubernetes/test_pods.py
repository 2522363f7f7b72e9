"""The pure parts of the members for Kubernetes: names, templates, scripts, and what pods say."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ensemble.members.kubernetes.job import JobKind
from ensemble.members.kubernetes.merge import merged
from ensemble.members.kubernetes.names import Identity, object_name, ref_of, shortened
from ensemble.members.kubernetes.objects import Pod
from ensemble.members.kubernetes.options import JobOptions, MemberOptions
from ensemble.members.kubernetes.reading import end_of, first_failure, read_pods, refusal_words
from ensemble.members.kubernetes.script import Report, files_of, job_script, literal
from ensemble.members.kubernetes.template import pod_template
from ensemble.model.errors import MemberError
from ensemble.model.jobs import AttemptRef, JobSpec, OutputSpec, Resources

IDENTITY = Identity("run-1", "0123456789ab", "job")


def spec(**fields: Any) -> JobSpec:
    return JobSpec(AttemptRef("run-1", "a-0"), "a", "jobs/a-0", **{"command": ("true",), **fields})


class TestNames:
    def test_a_name_is_always_the_same_and_another_for_each_attempt_and_run(self) -> None:
        name = object_name(IDENTITY, AttemptRef("run-1", "a-0"))
        assert name == object_name(IDENTITY, AttemptRef("run-1", "a-0"))
        assert name.startswith("run-1-a-0-1-")
        assert name != object_name(IDENTITY._replace(id="other"), AttemptRef("run-1", "a-0"))
        assert name != object_name(IDENTITY, AttemptRef("run-1", "a-0", 2))

    @pytest.mark.parametrize("run", ["9", "Ä_ö", "x" * 300, "a--b", "-"])
    def test_a_name_is_a_dns_label_with_room_for_what_controllers_add(self, run: str) -> None:
        name = object_name(IDENTITY._replace(run=run), AttemptRef(run, "k" * 200))
        assert len(name) <= 45
        assert name == name.lower()
        assert name[0].isalpha()
        assert name.replace("-", "").isalnum()
        assert name.isascii()

    def test_a_value_that_fits_stays_and_a_long_one_ends_with_a_hash(self) -> None:
        assert shortened("a_b.c-1") == "a_b.c-1"
        long = shortened("x" * 100)
        assert len(long) == 63
        assert long != shortened("x" * 101)
        assert shortened("ä b")[0].isalnum()

    def test_the_ref_of_an_object_is_read_from_its_annotation(self) -> None:
        assert ref_of(IDENTITY.annotations(AttemptRef("run-1", "group.of-12", 3))) == ("group.of-12", 3)
        assert ref_of({}) is None


class TestMerge:
    def test_lists_are_merged_by_their_key_and_null_removes(self) -> None:
        ours = {
            "containers": [{"name": "job", "image": "a", "env": [{"name": "X", "value": "1"}]}],
            "volumes": [],
            "x": 1,
        }
        change = {
            "containers": [{"name": "job", "env": [{"name": "Y", "value": "2"}]}, {"name": "side", "image": "b"}],
            "x": None,
        }
        job, side = merged(ours, change)["containers"]
        assert job["image"] == "a"
        assert [one["name"] for one in job["env"]] == ["X", "Y"]
        assert side["name"] == "side"
        assert "x" not in merged(ours, change)

    def test_tolerations_add_up_and_other_lists_are_replaced(self) -> None:
        assert merged({"tolerations": [{"key": "a"}]}, {"tolerations": [{"key": "b"}]}) == {
            "tolerations": [{"key": "a"}, {"key": "b"}]
        }
        assert merged({"args": ["a"]}, {"args": ["b"]}) == {"args": ["b"]}

    def test_options_of_a_group_come_over_those_of_the_member(self) -> None:
        member = {"image": "a", "node_selector": {"x": "1"}, "pod": {"spec": {"priorityClassName": "low"}}}
        options = JobOptions.read(member, {"image": "b", "pod": "spec: {priorityClassName: high}"})
        assert options.image == "b"
        assert options.node_selector == {"x": "1"}
        assert options.pod == {"spec": {"priorityClassName": "high"}}

    @pytest.mark.parametrize(
        ("given", "said"),
        [
            ({"imagee": "x"}, "did you mean 'image'?"),
            ({"pull": "Sometimes"}, "pull: expected one of Always"),
            ({"pod": "x: ["}, "pod: not YAML"),
            ({"shared": {"path": 3}}, "shared: expected a path and a volume"),
            ({"start_timeout": "soon"}, "start_timeout"),
        ],
    )
    def test_a_bad_option_is_refused_with_what_was_expected(self, given: dict[str, Any], said: str) -> None:
        with pytest.raises(MemberError) as error:
            MemberOptions.read(given, "a Job member")
        assert said in str(error.value)


class TestTemplate:
    def template(self, job: JobSpec, **options: Any) -> dict[str, Any]:
        return pod_template(job, JobOptions(image="i", **options), IDENTITY, "/runs/run-1", None, "true")["spec"]

    def test_resources_are_those_of_one_pods_tasks(self) -> None:
        job = spec(resources=Resources(nodes=2, tasks=4, cores=3, gpus=1))
        (container,) = self.template(job, memory="1Gi")["containers"]
        assert container["resources"] == {
            "requests": {"cpu": "6", "memory": "1Gi"},
            "limits": {"memory": "1Gi", "nvidia.com/gpu": "2"},
        }

    def test_hosts_to_avoid_and_nodes_to_itself_are_affinities(self) -> None:
        affinity = self.template(spec(avoid=("n1",), resources=Resources(exclusive=True)))["affinity"]
        assert set(affinity) == {"nodeAffinity", "podAntiAffinity"}
        assert "n1" in str(affinity["nodeAffinity"])

    def test_a_walltime_has_kubernetes_own_deadline_behind_it(self) -> None:
        assert self.template(spec(walltime=90.5))["activeDeadlineSeconds"] == 150

    @pytest.mark.parametrize(
        ("text", "there"), [("$(X)", "$$(X)"), ("$$", "$$$"), ("$X ${Y} $", "$X ${Y} $"), ("$$(", "$$$$(")]
    )
    def test_text_reaches_the_pod_as_it_is(self, text: str, there: str) -> None:
        assert literal(text) == there


class TestScript:
    """Run here, by the shells that images have; what is written to the termination log is caught in a file."""

    def run(self, folder: Path, job: JobSpec, claim: str = "", shell: str = "sh") -> subprocess.CompletedProcess[str]:
        text = job_script(job, str(folder), "${NODE:-0}", "", claim, "MARK")
        text = text.replace("/dev/termination-log", str(folder / "said"))
        env = {**os.environ, **job.env}
        return subprocess.run(
            [*shell.split(), "-c", text], env=env, capture_output=True, text=True, timeout=30, check=False
        )

    def report(self, folder: Path) -> Report:
        return Report.read((folder / "said").read_text())

    @pytest.mark.parametrize("shell", ["sh", "bash", "busybox sh"])
    def test_it_ends_as_the_program_does_and_says_when(self, tmp_path: Path, shell: str) -> None:
        done = self.run(tmp_path, spec(command=("sh", "-c", "echo out; exit 3")), shell=shell)
        assert (done.returncode, done.stdout) == (3, "out\n")
        report = self.report(tmp_path)
        assert 0 < report.start <= report.end
        assert not report.reason

    def test_a_program_that_is_not_there_and_a_walltime_are_told(self, tmp_path: Path) -> None:
        assert self.run(tmp_path, spec(command=("no-such-program",))).returncode == 127
        assert self.report(tmp_path).reason == "launch"
        (tmp_path / "said").unlink()
        self.run(tmp_path, spec(command=("sleep", "30"), walltime=0.3))
        assert self.report(tmp_path).reason == "walltime"

    def test_a_second_start_of_the_same_attempt_ends_as_the_first_and_runs_nothing(self, tmp_path: Path) -> None:
        (tmp_path / "jobs" / "a-0").mkdir(parents=True)
        job = spec(command=("sh", "-c", "echo x >> ../../ledger; exit 5"))
        codes = [self.run(tmp_path, job, str(tmp_path / "claim")).returncode for _ in range(2)]
        assert codes == [5, 5]
        assert (tmp_path / "ledger").read_text() == "x\n"

    def test_files_of_figures_follow_the_output(self, tmp_path: Path) -> None:
        outputs = (OutputSpec("x", source="o/x.json", pointer="/x"), OutputSpec("y", source="none", pattern="y"))
        done = self.run(tmp_path, spec(script="mkdir o; printf '{\"x\": 1}' > o/x.json; printf out", outputs=outputs))
        assert files_of(done.stdout.encode(), "MARK") == (b"out", {"o/x.json": b'{"x": 1}'})

    def test_output_that_looks_like_a_mark_is_left_alone(self) -> None:
        assert files_of(b"plain", "MARK") == (b"plain", {})
        assert files_of(b"a\nMARK x y\nrest", "MARK")[0] == b"a"


def pod(**status: Any) -> Pod:
    meta = {"name": "p", "deletionTimestamp": status.pop("deleted", "")}
    return msgspec.convert({"metadata": meta, "spec": {"nodeName": status.pop("node", "n1")}, "status": status}, Pod)


def ended(code: int, **fields: Any) -> list[dict[str, Any]]:
    return [{"name": "job", "state": {"terminated": {"exitCode": code, **fields}}}]


def disrupted(reason: str) -> list[dict[str, Any]]:
    return [{"type": "DisruptionTarget", "status": "True", "reason": reason, "message": "m"}]


class TestEnds:
    @pytest.mark.parametrize(
        ("status", "outcome", "reason"),
        [
            ({"phase": "Succeeded", "containerStatuses": ended(0)}, "success", ""),
            ({"phase": "Failed", "containerStatuses": ended(3)}, "failed", "exit"),
            ({"phase": "Failed", "containerStatuses": ended(137)}, "failed", "signal"),
            ({"phase": "Failed", "containerStatuses": ended(137, reason="OOMKilled")}, "failed", "infrastructure"),
            ({"phase": "Failed", "containerStatuses": ended(128, reason="StartError")}, "failed", "launch"),
            ({"phase": "Failed", "containerStatuses": ended(143, message="reason=walltime\n")}, "failed", "walltime"),
            ({"phase": "Failed", "reason": "DeadlineExceeded"}, "failed", "walltime"),
            ({"phase": "Failed", "reason": "Evicted", "message": "low on memory"}, "failed", "infrastructure"),
            ({"phase": "Failed", "reason": "OutOfcpu"}, "failed", "infrastructure"),
            ({"phase": "Failed", "containerStatuses": ended(143), "deleted": "x"}, "failed", "infrastructure"),
            *(
                (
                    {"phase": "Failed", "conditions": disrupted(why), "containerStatuses": ended(143)},
                    "failed",
                    "infrastructure",
                )
                for why in (
                    "PreemptionByScheduler",
                    "DeletionByTaintManager",
                    "EvictionByEvictionAPI",
                    "DeletionByPodGC",
                )
            ),
        ],
    )
    def test_how_a_pod_ended(self, status: dict[str, Any], outcome: str, reason: str) -> None:
        end = end_of(pod(**status))
        assert end is not None
        assert (end.outcome, end.reason) == (outcome, reason)

    def test_a_pod_that_runs_or_waits_has_not_ended(self) -> None:
        assert end_of(pod(phase="Running")) is None
        assert end_of(pod(phase="Pending")) is None

    def test_of_several_failures_the_first_counts(self) -> None:
        later = end_of(pod(phase="Failed", containerStatuses=ended(143, message="end=20.0\n")))
        first = end_of(pod(phase="Failed", containerStatuses=ended(3, message="end=10.0\n")))
        assert later is not None
        assert first is not None
        assert first_failure([later, first]) == first
        assert first_failure([]) is None


class TestWaiting:
    def waiting(self, **status: Any) -> str:
        return read_pods([pod(**status)], 1).waiting

    def test_the_scheduler_is_quoted_without_its_asides(self) -> None:
        counts = "1 Insufficient cpu, 1 node(s) had untolerated taint(s)"
        message = f"0/2 nodes are available: {counts}. no new claims to deallocate, preemption: 0/2."
        condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
        assert self.waiting(conditions=[condition]) == (
            "no node has room: 1 Insufficient cpu, 1 node(s) had untolerated taint(s)"
        )

    @pytest.mark.parametrize(
        ("reason", "message", "words"),
        [
            ("ErrImagePull", 'failed to pull "x": dial tcp: no such host', "image x cannot be pulled: no such host"),
            ("ImagePullBackOff", 'Back-off pulling image "x"', "image x cannot be pulled"),
            ("ErrImageNeverPull", "", "image x is not on the node, and may not be pulled there"),
            (
                "CreateContainerConfigError",
                'secret "s" not found',
                'its container cannot be started: secret "s" not found',
            ),
        ],
    )
    def test_a_container_that_cannot_start_is_explained(self, reason: str, message: str, words: str) -> None:
        status = {"name": "job", "image": "x", "state": {"waiting": {"reason": reason, "message": message}}}
        assert self.waiting(containerStatuses=[status]) == words

    def test_what_the_controller_was_refused_is_the_same_for_all_jobs(self) -> None:
        forbidden = 'Error creating: pods "j-0-x" is forbidden'
        quota = f"{forbidden}: exceeded quota: q, requested: pods=1, used: pods=4, limited: pods=4"
        assert refusal_words(quota) == "the namespace's quota q is used up: it needs pods=1 and the limit is pods=4"
        assert refusal_words(quota.replace("j-0-x", "k-0-y").replace("used: pods=4", "used: pods=3")) == refusal_words(
            quota
        )


def test_two_pods_for_one_index_count_as_one() -> None:
    first, second = pod(phase="Pending"), pod(phase="Running")
    for one, name in ((first, "p"), (second, "q")):
        one.metadata.name, one.metadata.labels = name, {"batch.kubernetes.io/job-completion-index": "0"}
    assert JobKind().deciding([first, second], 1) == [second]
    assert JobKind().deciding([first], 2) == []
