"""The arguments and return values of people's functions.

Everything is a mapping whose keys are attributes too: `rule.action.label` and `rule["action"]["label"]`.
"""

from __future__ import annotations

__all__ = ["Action", "Item", "Metrics", "Rule", "item"]

from collections.abc import Mapping
from typing import Any, NoReturn


class Item(dict[str, Any]):
    """Plain data to read."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            known = ", ".join(map(str, self)) or "nothing"
            raise AttributeError(f"no {name!r} here; there is {known}") from None


class _Returned(Item):
    """A mapping, names, or both: `Action({"name": "submit"})`, `Action(name="submit")`."""

    def __init__(self, given: Mapping[str, Any] | None = None, /, **names: Any) -> None:
        super().__init__(given or {}, **names)


class Action(_Returned):
    """An action to be returned, written as in the file."""


class Rule(_Returned):
    """A rule to be returned, written as in the file."""


class _Value(float):
    """A number that also answers `.get()`, as the statistics of ensemble-python do."""

    def get(self) -> float:
        """The number itself."""
        return float(self)


class Metrics(Item):
    """The metrics when the function was called, to be read only.

    `metrics["mean"]["sleep"]["duration"]`, `metrics.mean.sleep.duration`, or by path
    `metrics.get("mean.sleep.duration")`; `models` has the keys of ensemble-python
    (`metrics.models["mean"]["sleep-duration"].get()`).
    """

    def get(self, path: str, default: Any = None) -> Any:
        """The value at a metric path such as `count.sleep.success`; `default` when there is none."""
        found: Any = self
        statistic, _, rest = path.partition(".")
        group, _, quantity = rest.rpartition(".")
        for word in (statistic, group, quantity) if group else path.split("."):
            if not isinstance(found, dict) or word not in found:
                return default
            found = found[word]
        return found

    @property
    def models(self) -> Item:
        """The same under the keys of ensemble-python."""
        found: dict[str, Any] = {}
        for statistic, groups in self.items():
            if not isinstance(groups, dict):
                continue
            names: dict[str, Any] = {}
            for group, values in groups.items():
                if not isinstance(values, dict):
                    continue
                numbers = {name: _Value(value) for name, value in values.items() if isinstance(value, int | float)}
                if statistic == "count":
                    names[group] = Item(numbers)
                else:
                    names.update({f"{group}-{name}": number for name, number in numbers.items()})
            found[statistic] = Item(names)
        return Item(found)

    def _refuse(self, *_: Any, **__: Any) -> NoReturn:
        raise TypeError("metrics are to be read only")

    __setitem__ = __delitem__ = __setattr__ = __delattr__ = _refuse
    update = pop = popitem = clear = setdefault = _refuse


def item(value: Any) -> Any:
    """Plain data with its keys as attributes, at every depth."""
    if isinstance(value, dict):
        return Item({key: item(inner) for key, inner in value.items()})
    if isinstance(value, list):
        return [item(inner) for inner in value]
    return value
