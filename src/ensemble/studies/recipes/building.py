"""Building a cell's image with buildah or podman, the same digest for the same recipe."""

from __future__ import annotations

__all__ = ["Builder", "Built", "bootstrap", "build", "builder", "image_name", "write_context"]

import configparser
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from msgspec import Struct

from ensemble.model.errors import EnsembleError, InputError
from ensemble.studies.recipes.cells import Cell
from ensemble.studies.recipes.model import Base
from ensemble.studies.recipes.rendering import PREFIX, containerfile, context_files, digest

BUILDERS: Final = ("buildah", "podman")

_ORAS_MODULE: Final = "oras.land/oras/cmd/oras@v1.3.6"
_MACHINES: Final = {"x86_64": "amd64", "aarch64": "arm64"}
"""What images call the architectures that Python names so."""


class Built(Struct, frozen=True):
    """A built image: its name in the local store, its digest there, and the digest of the recipe it was built from."""

    cell: str
    image: str
    digest: str
    recipe: str


class Builder(Struct, frozen=True):
    """The program that builds images."""

    program: str

    def run(self, *words: str, quiet: bool = True) -> str:
        """Run it and return what it printed. Raises `EnsembleError` with its last words where it fails.

        With `quiet` false its messages go to standard error while it works.
        """
        with tempfile.TemporaryFile("w+") as said:
            done = subprocess.run(  # noqa: S603 - a program that this package names
                [self.program, *words], stdout=subprocess.PIPE, stderr=said if quiet else None, text=True, check=False
            )
            said.seek(0)
            last = said.read().strip()[-2000:]
        if done.returncode:
            raise EnsembleError(f"{Path(self.program).name} {words[0]} failed{': ' + last if last else ''}")
        return done.stdout.strip()

    def has(self, image: str) -> bool:
        """Whether an image is in the local store."""
        return bool(self.run("images", "--quiet", "--filter", f"reference={image}"))


def builder(*names: str) -> Builder:
    """The builder of this machine, of those named or of all. Raises `InputError` where there is none."""
    wanted = names or BUILDERS
    for name in wanted:
        if path := shutil.which(name):
            return Builder(path)
    raise InputError(f"{' or '.join(wanted)} is needed for images, and is not installed (apt-get install {wanted[0]})")


def image_name(cell: Cell, flux: bool = False) -> str:
    """The name of a cell's image: its parts, and the beginning of the recipe's digest as the tag."""
    tag = digest(cell, flux).removeprefix("sha256:")[:12]
    return f"localhost/ensemble/{cell.name.replace('/', '-')}{'-flux' if flux else ''}:{tag}"


def build(
    cell: Cell, *, base: str = "", flux: bool = False, quiet: bool = False, allow_unpinned: bool = False
) -> Built:
    """Build a cell's image and return what was built; nothing is done anew that is there already.

    `base` is another image to begin with. Raises `InputError` where the cell is unpinned and that is not allowed, where
    no builder is installed, and where the base is of another architecture; `EnsembleError` where the build fails.
    """
    if (reasons := cell.unpinned) and not allow_unpinned:
        raise InputError(f"{cell.name} is unpinned, so it would be built from unknown files: {'; '.join(reasons)}")
    program = builder()
    if base:
        _check_architecture(program, base)
    name, recipe = image_name(cell, flux), digest(cell, flux)
    words = [f"--tag={name}", "--timestamp=0", "--layers", f"--label={PREFIX}.recipe={recipe}"]
    words += [f"--build-arg=BASE={base}", f"--label=org.opencontainers.image.base.name={base}"] if base else []
    words += ["--isolation=chroot"] if program.program.endswith("buildah") else []
    with tempfile.TemporaryDirectory(prefix="ensemble-build-") as folder, _pip_settings(Path(folder)) as mounts:
        context = Path(folder) / "context"
        write_context(context, cell, flux)
        program.run("build", *words, *mounts, f"--file={context}/Containerfile", str(context), quiet=quiet)
    found = program.run("images", "--no-trunc", "--format={{.Digest}}", "--filter", f"reference={name}")
    return Built(cell=cell.name, image=name, digest=found.splitlines()[0], recipe=recipe)


def bootstrap(base: Base) -> str:
    """Make a base from its distribution's packages alone, without a registry, and return the image's name.

    It is made once and then found in the local store. Raises `InputError` where the base cannot be made so.
    """
    if not base.suite:
        raise InputError(f"the base {base.name} cannot be made from packages: its recipe names no suite")
    program, image = builder(), f"localhost/ensemble/base-{base.name}:{base.suite}"
    if program.has(image):
        return image
    if shutil.which("mmdebstrap") is None:
        raise InputError(
            "a base is made from packages by mmdebstrap, which is not installed (apt-get install mmdebstrap)"
        )
    slim = [f"--dpkgopt=path-exclude=/usr/share/{what}/*" for what in ("doc", "man", "locale", "info")]
    with tempfile.TemporaryDirectory(prefix="ensemble-base-") as folder:
        tar = f"{folder}/base.tar"
        Builder("mmdebstrap").run("--variant=minbase", "--include=ca-certificates", *slim, base.suite, tar)
        container = program.run("from", "scratch")
        try:
            program.run("add", "--quiet", container, tar, "/")
            program.run("config", "--cmd=/bin/bash", container)
            program.run("commit", "--quiet", "--timestamp=0", container, image)
        finally:
            program.run("rm", container)
    return image


def _check_architecture(program: Builder, image: str) -> None:
    if not program.has(image):
        program.run("pull", "--quiet", image)
    there = program.run("inspect", "--type=image", "--format={{.OCIv1.Architecture}}", image)
    here = _MACHINES.get(platform.machine(), platform.machine())
    if there != here:
        raise InputError(f"the image {image} is for {there}, and this machine is {here}")


def write_context(folder: Path, cell: Cell, flux: bool = False) -> None:
    """Write all that a build needs into a new folder; times of files are the same in every build."""
    folder.mkdir()
    for name, text in {"Containerfile": containerfile(cell, flux), **context_files()}.items():
        (folder / name).write_text(text, encoding="utf-8")
    if (oras := _oras()) is not None:
        shutil.copy(oras, folder / "oras")
    for path in folder.iterdir():
        path.chmod(0o755 if path.name == "oras" else 0o644)
        os.utime(path, (0, 0))


def _oras() -> Path | None:
    """The oras command of this machine, compiled once where Go is there; without either the build downloads it."""
    if found := shutil.which("oras"):
        return Path(found).resolve()
    go = shutil.which("go")
    cache = (
        Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ensemble" / _ORAS_MODULE.rpartition("@")[2]
    )
    if go is not None and not (cache / "oras").exists():
        cache.mkdir(parents=True, exist_ok=True)
        env = {**os.environ, "GOBIN": str(cache), "CGO_ENABLED": "0"}
        words = [go, "install", "-trimpath", _ORAS_MODULE]
        subprocess.run(words, env=env, capture_output=True, check=False)  # noqa: S603 - as above
    return cache / "oras" if (cache / "oras").exists() else None


@contextmanager
def _pip_settings(folder: Path) -> Iterator[list[str]]:
    """Mounts that let pip in a build reach the package index as this machine does; nothing of it is in the image."""
    settings = configparser.ConfigParser()
    settings.read("/etc/pip.conf")
    certificate = os.environ.get("PIP_CERT") or settings.get("global", "cert", fallback="")
    if not settings.sections() and not certificate:
        yield []
        return
    mounts = [f"--volume={folder}/pip.conf:/etc/pip.conf:ro"]
    if certificate:
        inside = "/run/ensemble-certificates.crt"
        settings.read_dict({"global": {"cert": inside}})
        mounts.append(f"--volume={Path(certificate).resolve()}:{inside}:ro")
    with (folder / "pip.conf").open("w", encoding="utf-8") as file:
        settings.write(file)
    yield mounts
