"""The traces in docs/rules.md are what the engine does."""

import pytest

from tests.engine import traces


@pytest.mark.parametrize("name", traces.TRACES)
def test_the_document_tells_what_the_engine_does(name):
    assert traces.trace(name) in traces.DOCUMENT.read_text(), "run `python -m tests.engine.traces`"


def test_the_document_has_no_other_trace():
    text = traces.DOCUMENT.read_text()
    assert text.count("<!-- trace ") == text.count("<!-- end ") == len(traces.TRACES)
