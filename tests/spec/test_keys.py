"""One line declares a key: reader, schema, reference and hints follow from it."""

from typing import Annotated

import pytest
from msgspec import Struct

from ensemble.spec.convert import Converter, Failed
from ensemble.spec.keys import Key, keys_of, whole
from ensemble.spec.model import EnsembleSpec
from ensemble.spec.nodes import parse_tree
from ensemble.spec.reference import keys_table
from ensemble.spec.schema import OBJECTS, object_schema


class Oven(Struct):
    """A thing with keys."""

    trays: Annotated[int, Key("How many trays fit.", whole(1), aliases=("shelves",))] = 3
    inside: str = ""


def read(text):
    reader = Converter()
    try:
        return reader.struct(parse_tree(text, "oven.yaml"), Oven, ""), reader.problems
    except Failed:
        return None, reader.problems


def test_a_key_is_read_by_its_name_and_its_aliases():
    assert read("trays: 4") == ({"trays": 4}, [])
    assert read("shelves: 4") == ({"trays": 4}, [])


def test_a_wrong_value_is_refused_with_its_place():
    found, (problem,) = read("trays: 0")
    assert (found, str(problem)) == ({}, "oven.yaml:1:8: trays: 0 is too small: it must be 1 or more")


def test_a_misspelt_key_is_answered_with_the_nearest():
    _, (problem,) = read("trais: 4")
    assert problem.hint == "Did you mean trays?"


def test_a_field_without_a_key_cannot_be_written():
    _, (problem,) = read("inside: hot")
    assert "'inside' is not a key here" in str(problem)


def test_the_schema_has_it_with_its_description_and_default():
    assert object_schema(Oven)["properties"] == {
        "trays": {**whole(1).schema, "description": "How many trays fit.", "default": 3},
        "shelves": {**whole(1).schema, "description": "Another word for `trays`."},
    }


def test_the_reference_has_it():
    assert "| `trays` | a whole number | `3` | How many trays fit. |" in [*keys_table(Oven)]


@pytest.mark.parametrize("struct", [EnsembleSpec, *OBJECTS])
def test_every_key_of_the_file_has_one_plain_sentence(struct):
    assert [key.name for key in keys_of(struct) if not key.help.endswith(".") or not key.help[0].isupper()] == []
