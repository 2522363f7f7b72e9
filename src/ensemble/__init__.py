"""Ensemble: many HPC jobs, steered while they run by rules that react to the jobs' own events."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("ensemble-hpc")
except PackageNotFoundError:  # pragma: no cover - run from a tree that was never installed
    __version__ = "0.0.0"
