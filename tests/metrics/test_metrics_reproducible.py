"""The same values give the same bits on every Python: replay and `ensemble verify` hang on it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import ensemble

HERE = Path(__file__).parent
GOLDEN = "7e1579ff61a5d851596c51e8e285ba3dcad7dbf3463ce7c0774456ffc72a6d1a"
"""Changes only with the meaning of a statistic; a new one means that old runs no longer verify."""


def find_python(version: str) -> str | None:
    roots = (Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser() / "versions").glob(f"{version}.*")
    candidates = [shutil.which(f"python{version}"), *(str(root / "bin" / "python") for root in sorted(roots))]
    for candidate in candidates:
        if candidate and Path(candidate).exists():
            probe = [candidate, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
            if subprocess.run(probe, capture_output=True, text=True, check=False).stdout.strip() == version:
                return candidate
    return None


def digest(python: str, hash_seed: str = "0") -> str:
    command = [python, str(HERE / "reproduce.py"), str(Path(ensemble.__file__).parent)]
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    return subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout.strip()


def test_this_python_gives_the_golden_bits_under_two_hash_seeds():
    assert digest(sys.executable, "1") == digest(sys.executable, "2") == GOLDEN


@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13", "3.14"])
def test_every_supported_python_gives_the_golden_bits(version):
    python = find_python(version)
    if python is None:
        pytest.skip(f"python{version} is not on this machine")
    assert digest(python) == GOLDEN
