"""The references are what the code says now, and name everything there is."""

from pathlib import Path

import pytest
import yaml

from ensemble.algorithms import BUILTIN
from ensemble.cli.main import VERBS, ensemble
from ensemble.cli.reference import reference as command_line
from ensemble.cli.schema import command, reference
from ensemble.metrics import STATISTICS
from ensemble.model.jobs import COUNTS
from ensemble.spec.actions import action_names
from ensemble.spec.loader import loads
from ensemble.spec.schema import schema
from ensemble.spec.vocabulary import QUANTITIES, TRIGGERS

DOCS = Path(__file__).parents[2] / "docs"


def test_the_file_reference_is_current():
    assert (DOCS / "reference.md").read_text() == reference(), "run `ensemble schema --markdown > docs/reference.md`"


def test_the_reference_of_the_command_line_is_current():
    said = "run `python -m ensemble.cli.reference > docs/cli.md`"
    assert (DOCS / "cli.md").read_text() == command_line(), said


def test_the_schema_verb_prints_either(capsys):
    command.main([], standalone_mode=False)
    assert '"$schema"' in capsys.readouterr().out
    command.main(["--markdown"], standalone_mode=False)
    assert capsys.readouterr().out == reference()


SHOWN = {one.shown or one.name for one in STATISTICS.values()}


@pytest.mark.parametrize("words", [TRIGGERS, action_names(), COUNTS, QUANTITIES, SHOWN])
def test_every_word_of_the_format_is_in_it(words):
    assert [word for word in words if f"\n| `{word}` | " not in reference()] == []


def test_every_key_of_the_file_and_every_algorithm_is_in_it():
    text = reference()
    for name, definition in {"": schema(), **schema()["$defs"]}.items():
        assert [key for key in definition["properties"] if f"| `{key}` |" not in text] == [], name
    assert [name for name in BUILTIN if f"### {name}\n" not in text] == []


def test_every_table_has_as_many_cells_in_each_row():
    for text in (reference(), command_line()):
        columns = 0
        for line in text.splitlines():
            cells = line.replace("\\|", "").count("|")
            if line.startswith("|"):
                assert cells == (columns or cells), line
            columns = cells if line.startswith("|") else 0


def test_the_whole_files_in_it_are_read():
    blocks = [part.split("```")[0] for part in reference().split("```yaml\n")[1:]]
    parsed = [yaml.safe_load(block) for block in blocks if "{..." not in block and block.count("parameters:") < 3]
    assert len(parsed) > 10
    loads(blocks[0])


@pytest.mark.parametrize("verb", VERBS)
def test_every_option_of_a_verb_is_in_the_reference(verb):
    import click

    context = click.Context(ensemble, info_name="ensemble")
    options = [one for one in ensemble.get_command(context, verb).params if isinstance(one, click.Option)]
    part = command_line().split(f"\n## ensemble {verb}\n")[1].split("\n## ")[0]
    assert [option.opts[0] for option in options if f"`{option.opts[0]}`" not in part] == []
