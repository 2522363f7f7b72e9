"""An operator under its own account, and the service pods it asks for, as processes of the test.

The Deployments that the operator makes get a fake node, which says that they run. What would run in them is started by
`serve`, with the arguments of the Deployment and the account that the operator made: rights are those of a pod.
"""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from ensemble.operator.deployment import Install, installation
from tests.kubernetes.cluster import FOR_FAKE_NODES, TEST_IMAGE, Namespace
from tests.members.kubernetes import LITTLE

BIN = Path(sys.executable).parent
NAME = "ensemble-operator"
JOB_POD = {"image": TEST_IMAGE, "imagePullPolicy": "Never", "template": LITTLE}
MEMBER = {"job": JOB_POD}


def until(question, seconds=60.0, what=""):
    """Ask again and again until the answer is true."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if answer := question():
            return answer
        time.sleep(0.1)
    raise AssertionError(f"not within {seconds:g} s: {what or question}")


class Process:
    """A process of ours with its log."""

    def __init__(self, command: list[str], log: Path) -> None:
        self.log = log
        with log.open("ab") as out:
            self.popen = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out)

    def says(self, text: str, seconds: float = 60.0) -> None:
        """Wait until its log has this."""
        until(lambda: text in self.log.read_text() or self.over(), seconds, f"{text!r} in {self.log.read_text()}")
        assert text in self.log.read_text(), self.log.read_text()

    def over(self) -> bool:
        return self.popen.poll() is not None

    def kill(self) -> None:
        self.popen.kill()
        self.popen.wait(30)

    def stop(self) -> None:
        if not self.over():
            self.popen.send_signal(signal.SIGTERM)
            try:
                self.popen.wait(40)
            except subprocess.TimeoutExpired:
                self.kill()


class World:
    """A namespace with an operator."""

    def __init__(self, namespace: Namespace, folder: Path, stack: ExitStack) -> None:
        self.namespace, self.folder, self.stack = namespace, folder, stack
        self.port = 0
        self._count = 0

    # ---- the operator ------------------------------------------------------------------------------

    def install(self) -> None:
        """Give the operator its rights, and nothing else to do than in this namespace."""
        space = self.namespace.name
        objects = [
            _renamed(one, space)
            for one in installation(Install(TEST_IMAGE, space), namespace=False)
            if one["kind"] not in ("Deployment", "Service", "PodDisruptionBudget", "ValidatingWebhookConfiguration")
        ]
        text = json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
        self.namespace.cluster.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", given=text)
        self.stack.callback(
            self.namespace.cluster.kubectl, "delete", "clusterrolebinding", f"{NAME}-{space}", "--ignore-not-found"
        )
        self.namespace.cluster.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=60s")

    def account(self, name: str) -> Path:
        """A kubeconfig of an account in the namespace."""
        token = self.namespace.kubectl("create", "token", name).strip()
        return self.namespace.kubeconfig(self.folder / f"{name}.kubeconfig", token)

    def operator(self, *words: str) -> Process:
        """Start an operator."""
        self._count += 1
        command = [str(BIN / "ensemble-operator"), "run", f"--kubeconfig={self.account(NAME)}"]
        command += [f"--namespace={self.namespace.name}", f"--own-namespace={self.namespace.name}"]
        command += [f"--image={TEST_IMAGE}", "--pull-policy=Never", "--http=127.0.0.1:0", *words]
        process = Process(command, self.folder / f"operator-{self._count}.log")
        self.stack.callback(process.stop)
        return process

    def webhook(self) -> tuple[str, ...]:
        """Let the API server ask our webhook; returns the options for the operator that serves it."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        space = self.namespace.name
        (hook,) = (one for one in installation(Install(TEST_IMAGE, space)) if one["kind"].startswith("Validating"))
        hook["metadata"]["name"] = f"{NAME}-{space}"
        hook["webhooks"][0]["clientConfig"] = {"url": f"https://localhost:{self.port}/check"}
        hook["webhooks"][0]["namespaceSelector"] = {"matchLabels": {"kubernetes.io/metadata.name": space}}
        self.namespace.apply(hook)
        self.stack.callback(
            self.namespace.cluster.kubectl, "delete", "validatingwebhookconfiguration", f"{NAME}-{space}"
        )
        name = f"--webhook-configuration={NAME}-{space}"
        return (f"--webhook=127.0.0.1:{self.port}", "--webhook-host=localhost", name)

    # ---- ensembles ---------------------------------------------------------------------------------

    def ensemble(self, name: str, **spec: Any) -> dict[str, Any]:
        """An Ensemble whose service pod gets a fake node."""
        service = {"tolerations": FOR_FAKE_NODES["tolerations"], "nodeSelector": FOR_FAKE_NODES["nodeSelector"]}
        return {
            "apiVersion": "ensemble.flux-framework.org/v1alpha1",
            "kind": "Ensemble",
            "metadata": {"name": name, "namespace": self.namespace.name},
            "spec": {"members": [MEMBER], "service": service, **spec},
        }

    def serve(self, name: str, *, again: bool = False) -> Process:
        """Start what the service pod of an Ensemble runs."""
        deployment = until(lambda: self.find("deployment", f"{name}-ensemble"), what="the Deployment")
        pod = deployment["spec"]["template"]["spec"]
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        file = folder / "ensemble.yaml"
        if not again:
            file.write_text(self.find("configmap", f"{name}-ensemble")["data"]["ensemble.yaml"])
        here = {"--file": file, "--state": folder / "state", "--socket": folder / "s", "--http": "127.0.0.1:0"}
        words = [word.partition("=") for word in pod["containers"][0]["args"]]
        args = [f"{key}={here.get(key, value)}" for key, _, value in words]
        kubeconfig = self.account(pod["serviceAccountName"])
        command = [str(BIN / pod["containers"][0]["command"][0]), *pod["containers"][0]["command"][1:], *args]
        process = Process([*command, f"--kubeconfig={kubeconfig}"], folder / "service.log")
        self.stack.callback(process.stop)
        return process

    def find(self, kind: str, name: str) -> Any:
        """An object, or None."""
        found = self.namespace.kubectl("get", kind, name, "-o", "json", "--ignore-not-found")
        return json.loads(found) if found else None

    def status(self, name: str) -> Mapping[str, Any]:
        """Its status."""
        found = self.find("ensemble", name)
        return found.get("status", {}) if found else {}

    def phase(self, name: str, phase: str, seconds: float = 90.0) -> Mapping[str, Any]:
        """Its status, once it is in this phase."""
        until(lambda: self.status(name).get("phase") == phase, seconds, f"{phase}: {self.status(name)}")
        return self.status(name)

    def condition(self, name: str, kind: str) -> Mapping[str, Any]:
        """One of its conditions."""
        return next((one for one in self.status(name).get("conditions", ()) if one["type"] == kind), {})

    def events(self, name: str) -> list[tuple[str, str]]:
        """Reasons and messages of its Events."""
        found = self.namespace.get(
            "events", f"--field-selector=involvedObject.kind=Ensemble,involvedObject.name={name}"
        )
        return [(one["reason"], one["message"]) for one in found["items"]]


def _renamed(manifest: dict[str, Any], space: str) -> dict[str, Any]:
    """The same, where several operators are in one cluster."""
    text = json.loads(json.dumps(manifest))
    if text["kind"] == "ClusterRoleBinding":
        text["metadata"]["name"] = f"{NAME}-{space}"
    if text["kind"] == "ClusterRole" and text["metadata"]["name"] == NAME:
        hooks = next(rule for rule in text["rules"] if "validatingwebhookconfigurations" in rule["resources"])
        # each test has a configuration of its own
        del hooks["resourceNames"]
    return text


@contextmanager
def world(namespace: Namespace, folder: Path) -> Iterator[World]:
    """A namespace in which an operator may work."""
    with ExitStack() as stack:
        found = World(namespace, folder, stack)
        found.install()
        yield found
        names = namespace.kubectl("get", "ensembles", "-o", "name").split()
        if names:
            namespace.kubectl("delete", "--wait=false", *names)
