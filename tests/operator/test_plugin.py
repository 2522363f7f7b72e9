"""`kubectl ensemble VERB NAME` is the command line in the service pod."""

import click
import pytest

from ensemble.operator.plugin import VERBS, command


def test_a_verb_is_carried_out_in_the_service_pod():
    found = command(["explain", "it", "--output", "json"], ["--namespace=space"], False)
    assert found == [
        "kubectl", "--namespace=space", "exec", "deployment/it-ensemble", "-c", "service", "--",
        "ensemble", "explain", "last", "--output", "json",
    ]  # fmt: skip


def test_logs_take_the_key_of_a_job():
    assert command(["logs", "it", "hello-0"], [], False)[-4:] == ["ensemble", "logs", "last", "hello-0"]


@pytest.mark.parametrize("words", [[], ["explian", "it"], ["status"]])
def test_what_it_does_not_know_is_told(words):
    with pytest.raises(click.UsageError):
        command(words, [], False)


def test_its_verbs_are_those_of_the_command_line():
    from ensemble.cli.main import VERBS as ALL

    assert set(VERBS) <= set(ALL)
