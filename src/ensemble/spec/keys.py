"""What a key of the file is: its name, how its value is read, the schema of the value, and a sentence of help.

Each key is declared once, beside its field in `spec.model`:

    count: Annotated[int, Key("How many jobs each point gets.", whole(1))] = 1

The reader, the JSON Schema (and with it what editors show), `docs/reference.md` and the hints for a misspelt name all
follow from that line. A field without a `Key` is worked out by the loader and cannot be written in a file.
"""

from __future__ import annotations

__all__ = ["Key", "Shape", "keys_of", "object_shape", "words_of"]

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import Annotated, Any, Final, get_args, get_origin, get_type_hints

import msgspec

from ensemble.spec.vocabulary import CANCELLABLE, FLUX_TRIGGERS, MEMBER_EVENTS, TRIGGERS

Read = Callable[[Any, Any, str], Any]
"""Called with the reader, the tree of the value and its path in the file; returns the value."""


Schema = dict[str, Any] | Callable[[], dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Shape:
    """A kind of value: how it is read, its JSON Schema (or what makes it), and its name in the reference."""

    read: Read
    made: Schema
    words: str

    @property
    def schema(self) -> dict[str, Any]:
        """The JSON Schema of a value of this kind."""
        return self.made() if callable(self.made) else self.made


@dataclass(frozen=True, slots=True)
class Key:
    """One key of the file.

    `help` is one plain sentence. `name` is the key where it is not called like the field of the struct; `aliases` are
    other spellings. `needed` marks a key that a file must have although its field has a default, and `since` the
    version that brought it. `field` and `default` are filled in from the struct by `keys_of`.
    """

    help: str
    shape: Shape
    name: str = ""
    aliases: tuple[str, ...] = ()
    needed: bool = False
    since: str = ""
    field: str = ""
    required: bool = False
    default: Any = None


@cache
def keys_of(struct: type) -> tuple[Key, ...]:
    """Return the keys of a struct of `spec.model`, in the order of its fields."""
    hints = get_type_hints(struct, include_extras=True)
    found = []
    for field in msgspec.structs.fields(struct):
        hint = hints[field.name]
        for key in get_args(hint)[1:] if get_origin(hint) is Annotated else ():
            if isinstance(key, Key):
                default = None if field.default is msgspec.NODEFAULT else field.default
                found.append(
                    replace(
                        key,
                        name=key.name or field.name,
                        field=field.name,
                        default=default,
                        required=field.required,
                        needed=key.needed or field.required,
                    )
                )
    return tuple(found)


@cache
def words_of(struct: type) -> dict[str, Key]:
    """Return the keys of a struct by every word for them, aliases included."""
    return {word: key for key in keys_of(struct) for word in (key.name, *key.aliases)}


# ---- the kinds of values ---------------------------------------------------------------------------------


def _by(method: str, *arguments: Any) -> Read:
    """Read with a method of the reader."""
    return lambda reader, tree, where: getattr(reader, method)(tree, where, *arguments)


def shape(method: str, schema: Schema, words: str) -> Shape:
    """A kind of value with a method of `Reader` of its own."""
    return Shape(_by(method), schema, words)


def ref(struct: str) -> dict[str, Any]:
    """The schema of an object that is described elsewhere."""
    return {"$ref": f"#/$defs/{struct}"}


def object_shape(struct: type, words: str) -> Shape:
    """A mapping with the keys of a struct; the reference calls it `words`."""
    return Shape(lambda reader, tree, where: struct(**reader.struct(tree, struct, where)), ref(struct.__name__), words)


def _whole(least: int) -> dict[str, Any]:
    return {"type": "integer", "minimum": least, "maximum": 1_000_000_000}


def whole(least: int) -> Shape:
    """A whole number that is not below `least`."""
    return Shape(_by("whole", least), _whole(least), "a whole number")


def quantity(least: int) -> Shape:
    """A whole number, or text with placeholders that comes to one."""
    return Shape(
        _by("quantity", least), {"anyOf": [_whole(least), PLACEHOLDER]}, "a whole number or text with placeholders"
    )


def word(*choices: str, what: str) -> Shape:
    """One of a few words; `what` is what a message calls them."""
    return Shape(_by("choice", choices, what), {"enum": list(choices)}, ", ".join(f"`{choice}`" for choice in choices))


def several(choices: tuple[str, ...], what: str) -> Shape:
    """A list of words, or one of them."""
    words = f"a list of {', '.join(f'`{choice}`' for choice in choices)}"
    return Shape(_by("choices", choices, what), list_of({"enum": list(choices)}), words)


def list_of(item: dict[str, Any]) -> dict[str, Any]:
    """The schema of a list; a single plain value stands for a list of one."""
    return {"anyOf": [{"type": "array", "items": item}, {"type": "null"}, {"not": {"type": "object"}, **item}]}


_NUMBER: Final = r"([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?"
_UNIT: Final = (
    "(ms|milliseconds?|s|secs?|seconds?|m|mins?|minutes?|h|hrs?|hours?|d|days?"
    "|S|Secs?|Seconds?|M|Mins?|Minutes?|H|Hrs?|Hours?|D|Days?)"
)
_CLOCK: Final = r"([0-9]{1,5}-)?[0-9]{1,6}:[0-5][0-9]:[0-5][0-9]"
_DURATION: Final[dict[str, Any]] = {
    "anyOf": [
        {"type": "number", "minimum": 0},
        {"type": "string", "pattern": rf"^\s*({_NUMBER}|(\s*{_NUMBER}\s*{_UNIT}\s*)+|{_CLOCK})\s*$"},
    ],
    "examples": ["90s", "20m", "1h30m", "0:20:00"],
}
_ABOVE_ZERO: Final = {
    "anyOf": [
        {"type": "number", "exclusiveMinimum": 0},
        {"type": "string", "pattern": rf"^\s*\+?{_NUMBER}(\s.*)?$"},
    ]
}
_NAME: Final = {"type": ["string", "integer"], "pattern": "^[A-Za-z0-9_][A-Za-z0-9_-]*$", "maxLength": 100}
_TEXT: Final = {"type": ["string", "number", "boolean"]}
PLACEHOLDER: Final = {"type": "string", "pattern": r"\{.*\}", "examples": ["{N * 32}"]}

TEXT: Final = shape("text", _TEXT, "text")
"""Text; a number or truth value is taken as it was written."""
NAME: Final = shape("name", _NAME, "a name")
BOOLEAN: Final = shape("boolean", {"type": "boolean"}, "`true` or `false`")
NUMBER_ABOVE_ZERO: Final = shape("positive_number", {"type": "number", "exclusiveMinimum": 0}, "a number above 0")
MAPPING: Final = shape("anything_by_name", {"type": "object"}, "a mapping")
TEXTS: Final = shape("text_by_name", {"type": ["object", "null"], "additionalProperties": _TEXT}, "by name: text")
SCALARS: Final = shape("scalar_by_name", {"type": ["object", "null"], "additionalProperties": _TEXT}, "by name: text")
ENVIRONMENT: Final = shape("environment", {"type": ["object", "null"], "additionalProperties": _TEXT}, "by name: text")
VARIABLES: Final = shape("variables", list_of({"type": "string"}), "a list of names")

DURATION: Final = shape("duration", _DURATION, "a duration")
PERIOD: Final = shape("period", _DURATION, "a duration")
LIMIT_DURATION: Final = shape("positive_duration", _DURATION, "a duration")
WALLTIME: Final = shape(
    "walltime", {**_DURATION, "anyOf": [*_DURATION["anyOf"], PLACEHOLDER]}, "a duration or text with placeholders"
)
PRICE: Final = shape(
    "price",
    {
        "anyOf": [
            {"type": "number", "minimum": 0},
            {"type": "string", "pattern": rf"^\s*{_NUMBER}\s*([A-Z]{{3}})?\s*(/\s*(node-?)?(hour|hr|h))?\s*$"},
        ],
        "examples": ["0.41 USD/node-hour"],
    },
    "a price",
)
LIMIT_COUNT: Final = shape("limit_count", _whole(1), "a whole number")
LIMIT_NUMBER: Final = shape("limit_number", _ABOVE_ZERO, "a number above 0")

# ---- kinds of values with a structure of their own ---------------------------------------------------------

JOBS: Final = shape("groups", {"type": "array", "minItems": 1, "items": ref("GroupSpec")}, "a list of [Jobs](#jobs)")
RULES: Final = shape("rules", {"type": ["array", "null"], "items": ref("RuleSpec")}, "a list of [Rules](#rules)")
MEMBERS: Final = shape(
    "members",
    {
        "type": "object",
        "minProperties": 1,
        "propertyNames": {"pattern": _NAME["pattern"]},
        "additionalProperties": {"anyOf": [ref("MemberSpec"), {"type": "string"}, {"type": "null"}]},
    },
    "by name: [Members](#members) or text",
)
ALGORITHM: Final = shape(
    "algorithm",
    {"anyOf": [ref("AlgorithmSpec"), {"type": ["string", "null"]}]},
    "[Algorithms](#algorithms) or the name of one",
)
LIMITS: Final = shape("limits", ref("LimitsSpec"), "[Limits](#limits)")
LOGGING: Final = shape("logging", ref("LoggingSpec"), "[Logging](#logging)")
SIZES: Final = Shape(
    _by("whole", 1),
    {
        "anyOf": [
            _whole(1),
            {
                "type": "object",
                "properties": {
                    "min": {**_whole(0), "description": "The fewest nodes that `shrink` leaves."},
                    "max": {**_whole(1), "description": "The most nodes that `grow` reaches."},
                    "start": {**_whole(1), "description": "Nodes at the start; by default `min`."},
                },
                "additionalProperties": False,
            },
        ]
    },
    "a whole number or `{min, max, start}`",
)
RETRIES: Final = shape("retries", {"anyOf": [_whole(0), ref("RetrySpec")]}, "a whole number or [Retries](#retries)")
OUTPUTS: Final = shape(
    "outputs",
    {
        "type": "object",
        "propertyNames": {"pattern": r"^[^\d\W]\w*$"},
        "additionalProperties": {"anyOf": [{"type": "string"}, ref("OutputRule")]},
    },
    "by name: text or [Outputs](#outputs)",
)


def _file(source: str, description: str, needed: tuple[str, ...]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {
            source: {"type": "string", "description": description},
            "to": {"type": "string", "description": "Its name in the work directory."},
        },
        "required": list(needed),
        "additionalProperties": False,
    }


INPUTS: Final = shape(
    "inputs",
    list_of(
        {
            "anyOf": [
                {"type": "string"},
                _file("path", "A file beside the ensemble file, which is linked.", ("path",)),
                _file("render", "A file whose placeholders are filled in for each job.", ("render",)),
                _file("text", "What the file holds; placeholders are filled in.", ("text", "to")),
            ]
        }
    ),
    "a list of text or `{path, to}` or `{render, to}` or `{text, to}`",
)
TRIGGER: Final = shape(
    "trigger",
    {
        "anyOf": [
            {"enum": [*TRIGGERS, *(f"member-{name}" for name in MEMBER_EVENTS)]},
            {"type": "string", "pattern": "^job-native-"},
            {"enum": list(FLUX_TRIGGERS), "description": "Names of Flux' own events, as ensemble-python spells them."},
        ]
    },
    "a [trigger](#triggers)",
)


def _action_names() -> dict[str, Any]:
    # not before it is asked for: the table of actions is read when all of this package is there
    from ensemble.spec.actions import action_names

    return {"enum": list(action_names())}


ACTION: Final = shape(
    "action", lambda: {"anyOf": [ref("ActionSpec"), _action_names()]}, "[Actions](#actions) or the name of one"
)
ACTION_NAME: Final = shape("action_name", _action_names, "an action (below)")
CONDITION: Final = shape(
    "condition",
    {
        "type": ["string", "number", "null"],
        "examples": [3, "> 5.5", "mean.melt.pressure > 5 and count.melt.active == 0"],
    },
    "text or a number",
)
AXES: Final = shape(
    "axes",
    {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}]},
    "an axis, a list of axes, or `point`",
)
ADDED_RULE: Final = shape("added_rule", {"anyOf": [ref("RuleSpec"), {"type": "null"}]}, "[Rules](#rules)")
REPETITIONS: Final = shape(
    "repetitions", {"anyOf": [_whole(1), {"enum": ["unlimited"]}]}, "a whole number or `unlimited`"
)
JOB_STATES: Final = several(CANCELLABLE, "state of a job")
