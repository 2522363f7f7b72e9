"""Whatever is done to a file, it is loaded or refused with its problems: nothing else ever happens."""

import contextlib

from hypothesis import example, given, settings
from hypothesis import strategies as st

from ensemble.model.errors import InputError
from ensemble.model.placement import Size
from ensemble.runtime.opening import algorithms
from ensemble.spec.check import check
from ensemble.spec.loader import from_plain, loads
from tests.ensemble_files import ENSEMBLE_FILES, EXAMPLES

TEXTS = [path.read_text() for path in ENSEMBLE_FILES]
ODD = st.sampled_from(
    [
        "",
        "0",
        "-1",
        "1e400",
        ".nan",
        ".inf",
        "null",
        "true",
        "[]",
        "{}",
        "[[1]]",
        "{a: {b: [c]}}",
        "*a",
        "&a x",
        "!!int 5",
        "'{'",
        "'{T}'",
        "'{T / 0}'",
        "{}: {}",
        "99999999999999999999999999999999999999999999999999",
        "0x1F",
        "1_000",
        "2026-11-21",
        "'count.a.b'",
        "'> > 3'",
        "'5 ('",
        "'mean.melt.'",
        "unlimited",
        "'*'",
        "'a\\0b'",
        "\u00e9\u4e2d",
        "|",
        "- - -",
        "? x",
        "%",
        "@",
        "`",
        '"\\ud800"',
    ]
)
PLAIN = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.sampled_from(["melt", "T"])
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=6), inner, max_size=3)),
    max_leaves=6,
)


def load(text):
    said = ""
    try:
        check(loads(text, directory=str(EXAMPLES / "lammps"), algorithms=algorithms()), {"local": Size(1, 2)})
    except InputError as error:
        said = f"refused: {error}"
    assert said.strip() != "refused:"
    assert len(said) < 20_000


@st.composite
def mutated(draw):
    lines = draw(st.sampled_from(TEXTS)).splitlines()
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(lines) - 1))
        line = lines[at]
        kind = draw(st.integers(0, 6))
        if kind == 0:
            del lines[at]
        elif kind == 1:
            lines[at] = line.partition(":")[0] + ": " + draw(ODD)
        elif kind == 2:
            lines.insert(at, line)
        elif kind == 3:
            lines[at] = line[: draw(st.integers(0, len(line)))]
        elif kind == 4:
            lines[at] = " " * draw(st.integers(0, 4)) + line
        elif kind == 5:
            place = draw(st.integers(0, len(line)))
            lines[at] = line[:place] + draw(st.characters(codec="utf-8")) + line[place:]
        else:
            lines[at], other = lines[draw(st.integers(0, len(lines) - 1))], line
            lines.insert(at, other)
        lines = lines or [""]
    return "\n".join(lines)


@settings(max_examples=300, deadline=None)
@given(mutated())
def test_a_spoiled_file_is_loaded_or_refused(text):
    load(text)


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=80))
@example("jobs: [{name: a, command: 'x', walltime: 1e308d}]")
@example("jobs: [{name: a, command: 'x', count: 1e9, parameters: {T: {from: 1, to: 1e300, steps: 9}}}]")
def test_any_text_is_loaded_or_refused(text):
    load(text)


@settings(max_examples=200, deadline=None)
@given(
    st.fixed_dictionaries(
        {
            "jobs": st.lists(
                st.dictionaries(st.sampled_from(["name", "command", "count", "walltime", "parameters", "env"]), PLAIN)
            )
        },
        optional=dict.fromkeys(("rules", "limits", "members", "algorithm", "logging", "seed", "name", "custom"), PLAIN),
    )
)
def test_any_plain_data_is_taken_or_refused(data):
    with contextlib.suppress(InputError):
        from_plain(data, str(EXAMPLES))
