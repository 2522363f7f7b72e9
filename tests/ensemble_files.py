"""The examples that are ensemble files; those in `kubernetes/` and `dist/` are objects of Kubernetes."""

from pathlib import Path

EXAMPLES = Path(__file__).parents[1] / "examples"
ENSEMBLE_FILES = sorted(
    path
    for path in EXAMPLES.rglob("*.yaml")
    if path.relative_to(EXAMPLES).parts[0] not in ("kubernetes", "dist")
)  # fmt: skip
