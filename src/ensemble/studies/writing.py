"""Generated ensemble files as text: short lists and mappings on one line, nothing by reference."""

from __future__ import annotations

__all__ = ["file_text"]

from typing import Any

import yaml


class _Dumper(yaml.SafeDumper):
    """Writes a text of several lines as such, and what is there twice twice."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)


def file_text(data: dict[str, Any], comment: str) -> str:
    """The text of a file with this content, with a comment in its first line."""
    text = yaml.dump(data, Dumper=_Dumper, sort_keys=False, default_flow_style=None, width=120, allow_unicode=True)
    return f"# {comment}\n{text}"
