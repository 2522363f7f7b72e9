"""Numbers of things in messages."""

from ensemble.model.wording import counted


def test_one_is_singular_and_everything_else_is_plural():
    assert [counted(n, "node") for n in (0, 1, 2, 3000)] == ["0 nodes", "1 node", "2 nodes", "3,000 nodes"]
    assert counted(2, "retry", "retries") == "2 retries"
