"""Placeholders: ours are filled, foreign braces stay."""

from __future__ import annotations

import json
import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ensemble.model.errors import ExpressionError, InputError
from ensemble.model.jobs import Scalar
from ensemble.spec.placeholders import JOB_NAMES, Suspicion, compile_template, compile_words, suspicious

NAMES = ("T", "N", "method", "flag", *JOB_NAMES)
VALUES: dict[str, Scalar] = {
    "T": 1.1,
    "N": 4,
    "method": "very fast",
    "flag": True,
    "key": "melt-3",
    "seed": 7,
    "attempt": 2,
}


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        ("{T}", "1.1"),
        ("-T={T} -n={N}", "-T=1.1 -n=4"),
        ("{ N * 32 }", "128"),
        ("{N // 3}{N / 2}", "12.0"),
        ("{min(N, 2)}", "2"),
        ("{method}", "very fast"),
        ("{flag}", "true"),
        ("{key}.{attempt}.{seed}", "melt-3.2.7"),
        ("{T:.3f}", "1.100"),
        ("{N:04d}", "0004"),
        ("{N / 2:d}", "2"),
        ("{N:>6}|{method:<10}|", "     4|very fast |"),
        ("{{T}}", "{1.1}"),
        ('{"T": {T}}', '{"T": 1.1}'),
        ("", ""),
    ],
)
def test_a_placeholder_is_filled(text: str, filled: str) -> None:
    assert compile_template(text, NAMES).fill(VALUES) == filled


@pytest.mark.parametrize(
    "text",
    [
        "${HOME} ${T} ${N}",
        "awk '{print $1}' f",
        "awk '{ s += $2 } END { print s }'",
        '{"a": 1, "T": [1, 2], "b": {}}',
        "{1,2} {1..4} {a,T} x{3} [0-9]{2,3} {}",
        "{unknown} {T + unknown} {T > 1} {mean.melt.pressure} {'T'} {T!r} {T.real} {T[0]}",
        "{T: 300} {T:} {T:999999999d} {T:zz} {",
        "f() {\n  N\n}",
        "{" + "T+" * 400 + "T}",
    ],
)
def test_a_foreign_brace_stays_as_it_is(text: str) -> None:
    template = compile_template(text, NAMES)
    assert template.fill(VALUES) == text
    assert template.names == ()


@given(st.text())
def test_text_without_names_of_ours_always_stays(text: str) -> None:
    assert compile_template(text, ()).fill({}) == text


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_json_always_stays(data: object) -> None:
    # Only a string inside may hold a placeholder: {T} is ours wherever it stands.
    text = json.dumps(data)
    if not any("{" in part for part in text.split('"')[1::2]):
        assert compile_template(text, NAMES).fill(VALUES) == text


@given(st.lists(st.sampled_from(("{T}", "{N*2}", "{key}", "${T}", "{x}", "{", "}", "$", " ", "a"))))
def test_filling_is_replacing_each_placeholder_in_place(pieces: list[str]) -> None:
    filled = {"{T}": "1.1", "{N*2}": "8", "{key}": "melt-3"}
    expected = [
        piece if index and pieces[index - 1].endswith("$") else filled.get(piece, piece)
        for index, piece in enumerate(pieces)
    ]
    assert compile_template("".join(pieces), NAMES).fill(VALUES) == "".join(expected)


@pytest.mark.parametrize(
    ("text", "values", "words"),
    [
        ("{T}", {}, "'T' is not given"),
        ("{N / 0}", {"N": 1}, r"\{N / 0\} has no value with N = 1"),
        ("{N * 2}", {"N": "many"}, "has no value with N = many"),
        ("{T:d}", {"T": 1.5}, "cannot show 1.5"),
        ("{T:d}", {"T": "hot"}, "cannot show 'hot'"),
    ],
)
def test_a_placeholder_without_a_value_is_an_error_that_names_it(
    text: str, values: dict[str, Scalar], words: str
) -> None:
    with pytest.raises(ExpressionError, match=words):
        compile_template(text, NAMES).fill(values)


def test_a_lone_placeholder_keeps_the_type_of_its_value() -> None:
    assert compile_template("{N * 2}", NAMES).value(VALUES) == 8
    assert compile_template("{flag}", NAMES).value(VALUES) is True
    assert compile_template(" {N}", NAMES).value(VALUES) == " 4"
    assert compile_template("{N:d}", NAMES).value(VALUES) == "4"
    assert compile_template("4", NAMES).value(VALUES) == "4"


def test_a_template_knows_the_names_it_reads_and_its_text() -> None:
    template = compile_template("{T} {N * T} {seed}", NAMES)
    assert template.names == ("T", "N", "seed")
    assert template.text == "{T} {N * T} {seed}"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("lmp -in x -var T {T}", ["lmp", "-in", "x", "-var", "T", "1.1"]),
        ("run {method}", ["run", "very fast"]),
        ("run --m={method} '{method} x'", ["run", "--m=very fast", "very fast x"]),
        ("run -n {N * 32}", ["run", "-n", "128"]),
        ("""run {"T"} '$'{T} "it's" """, ["run", "{T}", "$1.1", "it's"]),
        ("awk '{print $1}' a\\ b ''", ["awk", "{print $1}", "a b", ""]),
        ("echo # {N}", ["echo", "#", "4"]),
        ("", []),
    ],
)
def test_a_command_is_split_before_it_is_filled(text: str, words: list[str]) -> None:
    assert [word.fill(VALUES) for word in compile_words(text, NAMES)] == words


@given(st.text(st.characters(exclude_characters="\ue000\ue001")))
def test_without_placeholders_a_command_is_split_as_the_shell_would(text: str) -> None:
    try:
        expected = shlex.split(text)
    except ValueError:
        with pytest.raises(InputError, match="cannot be split"):
            compile_words(text, ())
    else:
        assert [word.fill({}) for word in compile_words(text, ())] == expected


@given(st.text())
def test_a_value_is_one_argument_whatever_it_holds(value: str) -> None:
    assert [word.fill({"m": value}) for word in compile_words("a {m} b={m}", ("m",))] == ["a", value, f"b={value}"]


def test_a_command_with_the_stand_in_characters_is_refused() -> None:
    with pytest.raises(InputError, match="private-use"):
        compile_words("echo \ue0000\ue001", ())


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("{t}", ("{t}", "t", "T")),
        ("{temp}", ("{temp}", "temp", "temperature")),
        ("{temperatur * 2}", ("{temperatur * 2}", "temperatur", "temperature")),
        ("{kye:>5}", ("{kye:>5}", "kye", "key")),
        ("{attemp}", ("{attemp}", "attemp", "attempt")),
        ("{T} {temperature} {key}", None),
        ("${t} awk '{print $1}' {a,b} {\"t\": 1} {zzz}", None),
    ],
)
def test_a_misspelt_name_is_noticed_and_foreign_braces_are_not(text: str, found: tuple[str, str, str] | None) -> None:
    assert suspicious(text, ("T", "temperature")) == ((Suspicion(*found),) if found else ())
