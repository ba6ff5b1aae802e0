"""The conformance kit for models passes a sound model, and each check finds its defect."""

from __future__ import annotations

import pytest

from riskwatch.checks import check_model
from riskwatch.checks.model import CHECKS
from riskwatch.errors import ModelCheckError, ModelError
from tests.support.planted_models import FAULTS, Hasty, Leaking, Sound

EVENTS = 4_000


def test_a_sound_model_passes() -> None:
    """Every check runs and passes."""
    assert check_model(Sound, events=EVENTS) == tuple(CHECKS)


def test_there_is_a_fault_for_every_check() -> None:
    """Every check has a model with a planted defect that proves it."""
    assert list(FAULTS) == list(CHECKS)


@pytest.mark.parametrize("name", FAULTS)
def test_each_check_finds_its_fault(name: str) -> None:
    """The check for a planted defect fails and is named."""
    with pytest.raises(ModelCheckError) as caught:
        check_model(FAULTS[name], only=(name,), events=EVENTS, max_state_bytes=32_768)
    assert list(caught.value.failures) == [name]
    assert caught.value.model == FAULTS[name].__name__
    assert name in str(caught.value)


def test_a_short_answer_is_the_long_one() -> None:
    """The probability without contributions must equal that of the score."""
    with pytest.raises(ModelCheckError, match="probability gives"):
        check_model(Hasty, only=("shape",), events=EVENTS)


def test_memory_that_is_not_stored_is_found() -> None:
    """Memory that is not in the state is found."""
    with pytest.raises(ModelCheckError, match="memory grew by"):
        check_model(Leaking, only=("bounded",), events=40_000)


def test_all_failures_are_listed_at_once() -> None:
    """One run names every check that failed."""
    with pytest.raises(ModelCheckError, match="2 checks") as caught:
        check_model(
            FAULTS["new_features"], only=("shape", "new_features"), features=("new_always",)
        )
    assert list(caught.value.failures) == ["shape", "new_features"]


def test_a_factory_without_a_name_cannot_cross_processes() -> None:
    """A lambda fails only the check in other processes, with the remedy."""

    def local() -> Sound:
        return Sound()

    with pytest.raises(ModelCheckError, match="importable by its name"):
        check_model(local, only=("across_processes",))


def test_what_does_not_exist_is_said() -> None:
    """An unknown check and an unknown model are errors of their own."""
    with pytest.raises(ModelCheckError, match="no such check"):
        check_model(Sound, only=("beauty",))
    with pytest.raises(ModelError, match="'oracle' is unknown"):
        check_model("oracle")
