"""Recipes of containers as data: bases, fabrics, MPIs and applications, the cells they make, and how a cell is built.

`catalogue` reads every recipe there is; `Catalogue.cell` gives one cell, and `containerfile` renders it.
"""

from ensemble.studies.recipes.catalogue import Catalogue, catalogue
from ensemble.studies.recipes.cells import Cell
from ensemble.studies.recipes.model import Application, Base, Fabric, Figure, Mpi, Platform, Problem, Variant
from ensemble.studies.recipes.rendering import containerfile, digest

__all__ = [
    "Application",
    "Base",
    "Catalogue",
    "Cell",
    "Fabric",
    "Figure",
    "Mpi",
    "Platform",
    "Problem",
    "Variant",
    "catalogue",
    "containerfile",
    "digest",
]
