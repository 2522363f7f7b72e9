"""A recipe file as checked data: what a base, a fabric, an MPI, an application and a platform are.

Each field that a file may set has its `Key`, as in `ensemble.spec.model`: the reader and the hints for a misspelt name
follow from it.
"""

from __future__ import annotations

__all__ = [
    "PACKAGERS",
    "Application",
    "Base",
    "Clone",
    "Download",
    "Fabric",
    "Figure",
    "Mpi",
    "Part",
    "Platform",
    "Problem",
    "PythonPackage",
    "RecipeFile",
    "Variant",
]

from typing import Annotated, Final

from msgspec import Struct

from ensemble.model.jobs import FileInput, Scalar
from ensemble.spec import keys
from ensemble.spec.keys import ENVIRONMENT, NAME, TEXT, Key, Shape, list_of, object_shape, shape, whole, word
from ensemble.spec.model import OutputRule

PACKAGERS: Final = ("apt", "dnf", "spack")
"""The programs that install a base's packages."""

FLAVOURS: Final = ("openmpi", "mpich")
"""The families of MPI, which differ in their launchers and settings."""

WORDS: Final = shape("words", list_of({"type": "string"}), "a list of words")
LINES: Final = shape("lines", list_of({"type": "string"}), "a list of text")
SIZES: Final = shape("sizes", list_of({"type": ["string", "number"]}), "a list of values")


def _named(method: str, what: str) -> Shape:
    return shape(method, {"type": "object"}, f"by name: {what}")


class Download(Struct, frozen=True, omit_defaults=True):
    """A file that a build downloads."""

    url: Annotated[str, Key("Where it is downloaded from.", TEXT)]
    sha256: Annotated[str, Key("Its SHA-256 checksum in hexadecimal digits.", shape("sha256", {}, "64 digits"))] = ""
    recorded: Annotated[str, Key("Who published the checksum, where it was not computed from the file.", TEXT)] = ""


class Clone(Struct, frozen=True, omit_defaults=True):
    """A git repository that a build fetches at one commit."""

    url: Annotated[str, Key("The URL of the repository.", TEXT)]
    commit: Annotated[str, Key("The commit, all 40 digits of it.", shape("commit", {}, "40 digits"))] = ""
    submodules: Annotated[bool, Key("Whether its submodules are fetched too.", keys.BOOLEAN)] = False


class PythonPackage(Struct, frozen=True, omit_defaults=True):
    """A package from PyPI."""

    version: Annotated[str, Key("Its exact version.", TEXT)]
    sha256: Annotated[str, Key("The SHA-256 checksum of its file for x86-64.", shape("sha256", {}, "64 digits"))] = ""


class Variant(Struct, frozen=True, omit_defaults=True):
    """One way to install a part; the first whose needs the rest of the cell provides is taken."""

    needs: Annotated[tuple[str, ...], Key("What the other parts of the cell must provide.", WORDS)] = ()
    provides: Annotated[tuple[str, ...], Key("What this way provides in addition.", WORDS)] = ()
    packages: Annotated[tuple[str, ...], Key("Packages of the base's distribution.", WORDS)] = ()
    python: Annotated[dict[str, PythonPackage], Key("Packages from PyPI.", _named("python_packages", "a version"))] = {}
    downloads: Annotated[
        dict[str, Download],
        Key("Files to download, by the name they get in `/opt/src`.", _named("downloads", "a file")),
    ] = {}
    clones: Annotated[
        dict[str, Clone], Key("Repositories to fetch, by their directory in `/opt/src`.", _named("clones", "a commit"))
    ] = {}
    run: Annotated[tuple[str, ...], Key("Shell commands that build and install it, in this order.", LINES)] = ()
    env: Annotated[dict[str, str], Key("Environment variables of the image.", ENVIRONMENT)] = {}


class Part(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What bases, fabrics, MPIs and applications have in common."""

    help: Annotated[str, Key("One sentence that says what it is.", TEXT)]
    needs: Annotated[tuple[str, ...], Key("What the other parts of a cell must provide.", WORDS)] = ()
    provides: Annotated[tuple[str, ...], Key("What it provides to the other parts.", WORDS)] = ()
    variants: Annotated[
        tuple[Variant, ...],
        Key(
            "Ways to install it; the first that fits is taken.", shape("variants", {"type": "array"}, "a list of ways")
        ),
    ] = (Variant(),)
    name: str = ""
    file: str = ""
    """Where it was read from."""


class Base(Part, frozen=True, omit_defaults=True, kw_only=True):
    """A distribution in an image that cells are built on."""

    image: Annotated[str, Key("The image, with its tag.", TEXT)]
    digest: Annotated[str, Key("The digest of the image.", shape("image_digest", {}, "a digest"))] = ""
    recorded: Annotated[str, Key("Who published the digest, where the image was not pulled.", TEXT)] = ""
    packager: Annotated[str, Key("What installs its packages.", word(*PACKAGERS, what="packager"))]
    suite: Annotated[str, Key("The suite from which mmdebstrap can make the base without a registry.", TEXT)] = ""
    packages: Annotated[tuple[str, ...], Key("Packages that every cell gets.", WORDS)] = ()
    compilers: Annotated[tuple[str, ...], Key("Packages of cells that need a `compiler`.", WORDS)] = ()
    flux: Annotated[tuple[str, ...], Key("Packages of Flux, where the distribution has them.", WORDS)] = ()
    flux_view: Annotated[str, Key("The image whose view adds Flux when a pod starts.", TEXT)] = ""


class Fabric(Part, frozen=True, omit_defaults=True, kw_only=True):
    """A library between MPI and the network, or none."""


class Mpi(Part, frozen=True, omit_defaults=True, kw_only=True):
    """An implementation of MPI."""

    flavour: Annotated[str, Key("Its family.", word(*FLAVOURS, what="flavour"))]
    launcher: Annotated[str, Key("The program that starts ranks, by a name that no other MPI has.", TEXT)] = "mpiexec"


class Figure(Struct, frozen=True, omit_defaults=True):
    """The figure of merit of an application."""

    name: Annotated[str, Key("Which of the outputs it is.", NAME)]
    unit: Annotated[str, Key("Its unit.", TEXT)] = ""
    better: Annotated[str, Key("Whether more or less of it is better.", word("more", "less", what="direction"))] = (
        "more"
    )


class Problem(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One thing that an application can be run on, in several sizes."""

    help: Annotated[str, Key("One sentence that says what it computes.", TEXT)]
    command: Annotated[
        str, Key("The command of one rank; `{size}` and `{tasks}` stand for the size and the number of ranks.", TEXT)
    ]
    sizes: Annotated[tuple[Scalar, ...], Key("The sizes that it is measured in; the first is the default.", SIZES)] = (
        1,
    )
    tasks: Annotated[int, Key("The number of ranks that it needs; without it any number will do.", whole(1))] = 0
    setup: Annotated[str, Key("Shell lines that run once before the command.", TEXT)] = ""
    cleanup: Annotated[str, Key("Shell lines that run once after the command.", TEXT)] = ""
    env: Annotated[dict[str, str], Key("Environment variables of the command.", ENVIRONMENT)] = {}
    inputs: Annotated[tuple[FileInput, ...], Key("Files it needs in its work directory.", keys.INPUTS)] = ()
    figure: Annotated[
        Figure | None,
        Key("Its figure of merit, where it is not that of the application.", object_shape(Figure, "a figure")),
    ] = None
    outputs: Annotated[dict[str, OutputRule], Key("Its figures, in addition to the application's.", keys.OUTPUTS)] = {}
    valid: Annotated[str, Key("A condition that a correct result meets, instead of the application's.", TEXT)] = ""


class Application(Part, frozen=True, omit_defaults=True, kw_only=True):
    """A program with its problems and how its output is read."""

    source: Annotated[str, Key("Where it comes from: a URL.", TEXT)] = ""
    figure: Annotated[Figure, Key("Its figure of merit.", object_shape(Figure, "a figure"))]
    outputs: Annotated[
        dict[str, OutputRule], Key("Figures that are read from its output.", keys.OUTPUTS, needed=True)
    ] = {}
    valid: Annotated[str, Key("A condition over the figures that a correct result meets.", TEXT)] = ""
    problems: Annotated[
        dict[str, Problem], Key("What it can be run on.", _named("problems_of", "a problem"), needed=True)
    ] = {}


class Platform(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A place where cells run, as the bases, fabrics and MPIs that make sense there."""

    help: Annotated[str, Key("One sentence that says what it is.", TEXT)]
    bases: Annotated[tuple[str, ...], Key("Its bases; by default all.", WORDS)] = ()
    fabrics: Annotated[tuple[str, ...], Key("Its fabrics; by default all.", WORDS)] = ()
    mpis: Annotated[tuple[str, ...], Key("Its MPIs; by default all.", WORDS)] = ()


class RecipeFile(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What one recipe file holds."""

    bases: Annotated[dict[str, Base], Key("Bases, by name.", _named("bases", "a base"))] = {}
    fabrics: Annotated[dict[str, Fabric], Key("Fabrics, by name.", _named("fabrics", "a fabric"))] = {}
    mpis: Annotated[dict[str, Mpi], Key("MPIs, by name.", _named("mpis", "an MPI"))] = {}
    applications: Annotated[
        dict[str, Application], Key("Applications, by name.", _named("applications", "an application"))
    ] = {}
    platforms: Annotated[dict[str, Platform], Key("Platforms, by name.", _named("platforms", "a platform"))] = {}
