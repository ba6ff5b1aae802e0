"""Errors keep their content when they are sent from one process to another."""

from __future__ import annotations

import pickle

import pytest

from riskwatch import errors
from riskwatch.errors import (
    ConfigError,
    ModelCheckError,
    OptionNeededError,
    RiskwatchError,
    SeveralConfigErrors,
)


def kinds(base: type[RiskwatchError]) -> list[type[RiskwatchError]]:
    """Return a class and all its subclasses."""
    return [base, *(each for child in base.__subclasses__() for each in kinds(child))]


MADE = {
    OptionNeededError: OptionNeededError("x.csv", "--account", "the file names no account"),
    ConfigError: ConfigError("policy.toml", "states.halt.dwell", "a duration", "soon"),
    SeveralConfigErrors: SeveralConfigErrors(
        (ConfigError("a.toml", "x", "y", "why", "yes"), ConfigError("b.toml", "", "a table"))
    ),
    ModelCheckError: ModelCheckError("mine", {"finite": "logit must be finite, was nan"}),
}


@pytest.mark.parametrize(
    "kind", [k for k in kinds(RiskwatchError) if k.__module__ == errors.__name__]
)
def test_an_error_of_another_process_is_the_same_error(kind: type[RiskwatchError]) -> None:
    """An error keeps its type, message and attributes."""
    raised = MADE.get(kind) or kind("what happened")
    heard = pickle.loads(pickle.dumps(raised))
    assert type(heard) is kind
    assert str(heard) == str(raised)
    assert vars(heard) == vars(raised)
