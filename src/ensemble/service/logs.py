"""What the server says about itself, line by line on stderr."""

from __future__ import annotations

import json
import sys
import time


class Log:
    """Writes events as JSON or text."""

    def __init__(self, form: str = "text", name: str = "ensemble-server") -> None:
        self._form, self._name = form, name

    def __call__(self, event: str, text: str = "", **fields: str) -> None:
        """Say that something happened."""
        if self._form == "json":
            line = json.dumps({"time": time.time(), "event": event, "text": text, **fields})
        else:
            more = " ".join(f"{name}={value}" for name, value in fields.items())
            line = " ".join(word for word in (f"{self._name}:", event, more, text) if word)
        print(line, file=sys.stderr, flush=True)
