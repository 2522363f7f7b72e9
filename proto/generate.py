"""Write the stubs of `ensemble.v1` into `src/ensemble/session/v1` (or into a directory given).

They need `grpcio-tools` and `mypy-protobuf` (group `dev`). The import path in the generated code is
`ensemble.session.v1`: the proto package is `ensemble.v1`, but a Python package `ensemble.v1` would stand in no layer.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
PACKAGE = "ensemble/v1"
ABOUT = '''"""Generated from `proto/ensemble/v1` by `make proto`; not to be edited."""\n'''


def generate(target: Path) -> None:
    """Write every stub into `target`, replacing those that are there."""
    with tempfile.TemporaryDirectory() as folder:
        outputs = [f"--{kind}_out={folder}" for kind in ("python", "grpc_python")]
        outputs += [f"--{kind}_out=quiet:{folder}" for kind in ("mypy", "mypy_grpc")]
        files = sorted(str(path.relative_to(HERE)) for path in (HERE / PACKAGE).glob("*.proto"))
        # the plug-ins of mypy-protobuf are found beside this Python
        environment = {**os.environ, "PATH": f"{sysconfig.get_path('scripts')}{os.pathsep}{os.environ.get('PATH', '')}"}
        subprocess.run(  # noqa: S603 - our own files
            [sys.executable, "-m", "grpc_tools.protoc", f"-I{HERE}", *outputs, *files],
            check=True,
            cwd=HERE,
            env=environment,
        )
        target.mkdir(parents=True, exist_ok=True)
        for old in target.glob("*_pb2*.py*"):
            old.unlink()
        for path in sorted((Path(folder) / PACKAGE).iterdir()):
            if "_pb2_grpc" in path.name and "service " not in (HERE / PACKAGE / _proto(path.name)).read_text():
                continue
            text = path.read_text()
            text = re.sub(r"^from ensemble\.v1 import", "from ensemble.session.v1 import", text, flags=re.MULTILINE)
            (target / path.name).write_text(text)
        (target / "__init__.py").write_text(ABOUT)


def _proto(name: str) -> str:
    return name.partition("_pb2")[0] + ".proto"


if __name__ == "__main__":
    generate(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE.parent / "src/ensemble/session/v1")
