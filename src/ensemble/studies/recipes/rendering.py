"""A cell as a Containerfile: the same text for the same recipes, everything that is fetched pinned."""

from __future__ import annotations

__all__ = ["ORAS", "containerfile", "context_files", "digest", "labels"]

import hashlib
import os.path
from collections.abc import Iterator, Mapping
from typing import Final

from ensemble.studies.measuring.native import TOOLS, compiler_words, in_image, sources
from ensemble.studies.recipes.cells import Cell, Step
from ensemble.studies.recipes.model import Clone, Download, PythonPackage

TITLE: Final = "org.opencontainers.image.title"
PREFIX: Final = "org.flux-framework.ensemble"
"""What the names of our labels begin with."""

SOURCES: Final = "/opt/src"
"""Where a build keeps what it fetched, until it is installed."""

ORAS: Final = Download(
    url="https://github.com/oras-project/oras/releases/download/v1.1.0/oras_1.1.0_linux_amd64.tar.gz",
    sha256="e09e85323b24ccc8209a1506f142e3d481e6e809018537c6b3db979c891e6ad7",
    recorded="a public CI script that verifies it",
)
"""The command that saves artifacts, for builds whose context does not have it."""

_INSTALL: Final = {
    "apt": ("apt-get update", "apt-get install -y --no-install-recommends {}", "rm -rf /var/lib/apt/lists/*"),
    "dnf": ("dnf install -y --setopt=install_weak_deps=False {}", "dnf clean all"),
    "spack": ("spack --env /opt/ensemble/spack install --add --fail-fast {}",),
}
_INVENTORY: Final = {
    "apt": "dpkg-query --show > /usr/share/ensemble/packages.txt",
    "dnf": "rpm --query --all > /usr/share/ensemble/packages.txt",
    "spack": "spack --env /opt/ensemble/spack find --explicit --format '{name} {version}' "
    "> /usr/share/ensemble/packages.txt",
}


def containerfile(cell: Cell, flux: bool = False) -> str:
    """Return the Containerfile of a cell; `flux` puts Flux into the image where its base has packages of it."""
    title = f"{cell.application.name} on {cell.base.name} with {cell.mpi.name}"
    image = f"{cell.base.image}@{cell.base.digest}" if cell.base.digest else cell.base.image
    lines = [
        f"# {cell.name}: {cell.application.help}",
        f"# Made by `ensemble study render {cell.name}`. Change the recipe, not this file.",
        f"ARG BASE={image}",
        "FROM ${BASE}",
        "USER 0",
        *(["ENV DEBIAN_FRONTEND=noninteractive"] if cell.base.packager == "apt" else []),
    ]
    for step in cell.steps:
        lines += _step(cell, step, flux)
    lines += _tools()
    lines += ["", "# what is in it, and a user who is not root", *_run(_inventory(cell))]
    lines += [
        "LABEL " + " \\\n      ".join(f"{name}={_quoted(text)}" for name, text in labels(cell, title).items()),
        "USER 1000:1000",
        "ENV HOME=/home/ensemble",
        "WORKDIR /home/ensemble",
        'CMD ["/bin/bash"]',
    ]
    return "\n".join(lines) + "\n"


def digest(cell: Cell, flux: bool = False) -> str:
    """The digest of a cell's recipe: that of its Containerfile."""
    return "sha256:" + hashlib.sha256(containerfile(cell, flux).encode()).hexdigest()


def labels(cell: Cell, title: str) -> dict[str, str]:
    """The labels of the image, by name."""
    found = {
        TITLE: title,
        "org.opencontainers.image.description": cell.application.help,
        "org.opencontainers.image.source": cell.application.source,
        f"{PREFIX}.cell": cell.name,
        f"{PREFIX}.mpi": cell.mpi.flavour,
        f"{PREFIX}.launcher": cell.mpi.launcher,
        f"{PREFIX}.flux-view": cell.base.flux_view,
    }
    return {name: text for name, text in found.items() if text}


def _step(cell: Cell, step: Step, flux: bool) -> Iterator[str]:
    part, variant = step
    packages = [*variant.packages]
    if part is cell.base:
        packages += [*cell.base.packages, *(cell.base.compilers if "compiler" in cell.needs else ())]
        packages += cell.base.flux if flux else ()
    fetched = [*_downloads(variant.downloads), *_clones(variant.clones), *_python(variant.python)]
    commands = [*_packages(cell.base.packager, packages), *([f"mkdir -p {SOURCES}"] if fetched else []), *fetched]
    commands += [*variant.run, *([f"rm -rf {SOURCES}"] if fetched else [])]
    if commands or variant.env:
        yield from ("", f"# {part.name}: {part.help}", *_run(commands))
    if variant.env:
        yield "ENV " + " \\\n    ".join(f"{name}={_quoted(text)}" for name, text in variant.env.items())


def _packages(packager: str, packages: list[str]) -> Iterator[str]:
    if not packages:
        return
    named = "".join(f" \\\n      {name}" for name in sorted(dict.fromkeys(packages)))
    for line in _INSTALL[packager]:
        yield line.replace(" {}", named)


def _downloads(downloads: Mapping[str, Download]) -> Iterator[str]:
    for name, one in downloads.items():
        file = f"{SOURCES}/{name}"
        yield f"curl --fail --silent --show-error --location --retry 3 --output {file} {one.url}"
        if one.sha256:
            yield f"printf '%s  %s\\n' {one.sha256} {file} > {SOURCES}/sha256"
            yield f"sha256sum --check --quiet {SOURCES}/sha256"


def _clones(clones: Mapping[str, Clone]) -> Iterator[str]:
    for name, one in clones.items():
        git = f"git -C {SOURCES}/{name}"
        yield f"git init --quiet {SOURCES}/{name}"
        yield f"{git} fetch --quiet --depth 1 {one.url} {one.commit or 'HEAD'}"
        yield f"{git} checkout --quiet FETCH_HEAD"
        if one.submodules:
            yield f"{git} submodule update --quiet --init --recursive --depth 1"


def _python(packages: Mapping[str, PythonPackage]) -> Iterator[str]:
    if not packages:
        return
    file = f"{SOURCES}/requirements.txt"
    wanted = " ".join(f"'{name}=={one.version}{_hash(one)}'" for name, one in packages.items())
    hashed = "--require-hashes " if all(one.sha256 for one in packages.values()) else ""
    yield f"printf '%s\\n' {wanted} > {file}"
    yield f"python3 -m pip install --no-cache-dir --no-deps --break-system-packages {hashed}--requirement {file}"


def _hash(package: PythonPackage) -> str:
    return f" --hash=sha256:{package.sha256}" if package.sha256 else ""


def _tools() -> Iterator[str]:
    """The oras command, the interposer and the dummy program; what they are made of is in the context of the build."""
    file = ORAS.url.rpartition("/")[2]
    download = " && \\\n      ".join([*_downloads({file: ORAS}), f"tar -xzf {SOURCES}/{file} -C {SOURCES} oras"])
    yield from ("", "# what measures and saves; oras is downloaded where the context has none", f"COPY . {SOURCES}")
    compiled = [f"gcc {' '.join(compiler_words(tool, SOURCES, in_image(tool)))}" for tool in TOOLS]
    yield from _run(
        [
            f"mkdir -p {os.path.dirname(in_image('dummy'))}",
            *compiled,
            f"if [ ! -e {SOURCES}/oras ]; then \\\n      {download}; fi",
            f"install -m 755 {SOURCES}/oras /usr/local/bin/oras",
            f"rm -rf {SOURCES}",
        ]
    )


def context_files() -> dict[str, str]:
    """The texts that a build needs beside the Containerfile, by name."""
    return {name: text for tool in TOOLS for name, text in sources(tool).items()}


def _inventory(cell: Cell) -> list[str]:
    """List what is in the image, in files of the image."""
    python = [name for _, variant in cell.steps for name in variant.python]
    pip = ["python3 -m pip freeze > /usr/share/ensemble/python-packages.txt"] if python else []
    return [
        "mkdir -p /usr/share/ensemble",
        _INVENTORY[cell.base.packager],
        *pip,
        "useradd --uid 1000 --create-home ensemble",
    ]


def _run(commands: list[str]) -> Iterator[str]:
    if commands:
        yield "RUN " + " && \\\n    ".join(commands)


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
