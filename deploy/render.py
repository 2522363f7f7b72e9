"""Writes what installs the operator, from the one source `ensemble.operator.deployment`:

    python deploy/render.py [FOLDER]

- `examples/dist/ensemble-operator.yaml`, `-arm.yaml`, `-dev.yaml` for `kubectl apply`;
- `deploy/kustomize/`, a base to build on;
- `deploy/helm/ensemble-operator/`, a chart.

A test renders all of them again and compares.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any, Final

import yaml

from ensemble import __version__
from ensemble.operator.deployment import Install, installation

REPOSITORY: Final = "ghcr.io/flux-framework/ensemble"
HEADER: Final = "# Written by deploy/render.py; edit src/ensemble/operator/deployment.py.\n"

PLAIN: Final = {
    "ensemble-operator": Install(f"{REPOSITORY}:{__version__}"),
    "ensemble-operator-arm": Install(f"{REPOSITORY}:{__version__}-arm64", arch="arm64"),
    "ensemble-operator-dev": Install("ensemble:dev", pull_policy="Never", replicas=1),
}
"""Installations by the name of their file; `dev` uses an image that was built on the node."""

VALUES: Final[dict[str, Any]] = {
    "image": f"{REPOSITORY}:{__version__}",
    "pullPolicy": "IfNotPresent",
    "replicas": 2,
}
"""The values of the chart."""

IN_CHART: Final = Install(
    "{{ .Values.image }}", "{{ .Release.Namespace }}", "{{ .Values.pullPolicy }}", "{{ int .Values.replicas }}"
)


def rendered() -> dict[str, str]:
    """Every file, by its path in the repository."""
    files = {f"examples/dist/{name}.yaml": _documents(installation(one)) for name, one in PLAIN.items()}
    base = installation(PLAIN["ensemble-operator"])
    definition = next(one for one in base if one["kind"] == "CustomResourceDefinition")
    files["deploy/kustomize/crd.yaml"] = _documents([definition])
    files["deploy/kustomize/operator.yaml"] = _documents([one for one in base if one is not definition])
    kustomization = {"resources": ["crd.yaml", "operator.yaml"]}
    files["deploy/kustomize/kustomization.yaml"] = HEADER + _yaml(kustomization)
    chart = "deploy/helm/ensemble-operator"
    about = {
        "apiVersion": "v2",
        "name": "ensemble-operator",
        "description": "Runs ensembles of HPC jobs, steered by rules, in Kubernetes.",
        "type": "application",
        "version": __version__,
        "appVersion": __version__,
    }
    files[f"{chart}/Chart.yaml"] = HEADER + _yaml(about)
    files[f"{chart}/values.yaml"] = HEADER + _yaml(VALUES)
    files[f"{chart}/crds/ensembles.yaml"] = files["deploy/kustomize/crd.yaml"]
    manifests = [one for one in installation(IN_CHART, namespace=False) if one["kind"] != "CustomResourceDefinition"]
    # a number must not stand in quotes
    files[f"{chart}/templates/operator.yaml"] = re.sub(r"'(\{\{ int [^']*\}\})'", r"\1", _documents(manifests))
    return files


def _documents(manifests: list[dict[str, Any]]) -> str:
    return HEADER + "---\n".join(_yaml(one) for one in manifests)


class _Dumper(yaml.SafeDumper):
    """Writes the same value twice where it occurs twice, instead of a reference."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _yaml(data: Any) -> str:
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, width=120)


def main() -> None:
    """Write everything below the folder that is named, by default the repository."""
    root = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[1]
    for name, text in rendered().items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


if __name__ == "__main__":
    main()
