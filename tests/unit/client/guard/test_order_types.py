"""The guard refuses an order that it cannot understand; it never guesses and never raises."""

from __future__ import annotations

import logging
from decimal import Decimal
from enum import Enum, StrEnum
from typing import TYPE_CHECKING, Any, Final

import pytest

from riskwatch.core.enums import State
from riskwatch.core.scopes import is_scope
from tests.unit.client.guard.test_switch import COIN, ORDER, VENUE, Guarded

if TYPE_CHECKING:
    from collections.abc import Callable


class Plain(Enum):
    """Names that are no text."""

    KRAKEN = "kraken"


class Text(StrEnum):
    """Names that are text."""

    KRAKEN = "kraken"
    USDC = "USDC"


class Loud(str, Enum):  # noqa: UP042 - this kind of class is the case
    """Text whose `str` is not its value."""

    KRAKEN = "kraken"


MALFORMED: Final[dict[str, Callable[[], dict[str, Any]]]] = {
    "counterparty must be text, was bytes": lambda: {"counterparty": b"kraken"},
    "counterparty must be text, was Plain": lambda: {"counterparty": Plain.KRAKEN},
    "book must be text, was dict": lambda: {"book": {"arb": 1}},
    "book must be text, was int": lambda: {"book": 0},
    "book must be 1 to 64 characters": lambda: {"book": "a/b"},
    "counterparty must be 1 to 64": lambda: {"counterparty": "kraken "},
    "counterparty must not hold the character U+200B": lambda: {"counterparty": "kra\u200bken"},
    "asset must be written in one script": lambda: {"asset": "USD\u0421"},
    "asset must be written in Latin": lambda: {"asset": ("BTC", "\u0421\u0412")},
    "asset must be spelled 'USDC'": lambda: {"asset": "\uff35\uff33\uff24\uff23"},
    "asset must be text, was generator": lambda: {"asset": (name for name in ("BTC", "USDC"))},
    "asset must be text, was dict": lambda: {"asset": {"USDC": 1}},
    "asset must be text, was bytes": lambda: {"asset": ("BTC", b"USDC")},
    "asset must be text, was NoneType": lambda: {"asset": ["BTC", None]},
    "asset must be text, was list": lambda: {"asset": (["USDC"],)},
    "side must be text, was bytes": lambda: {"side": b"withdrawal"},
    "reduces must be True or False, was str": lambda: {"reduces": "no"},
    "reduces must be True or False, was int": lambda: {"reduces": 1},
    "hedge must be True or False, was str": lambda: {"hedge": "False"},
    "cancel must be True or False, was str": lambda: {"cancel": "no"},
    "usd must be a number, was str": lambda: {"usd": "5"},
    "usd must be a number, was bool": lambda: {"usd": True},
    "usd must be a number: ": lambda: {"usd": 10**400},
    "slip_bp must be a number, was list": lambda: {"slip_bp": [1.0]},
}


@pytest.mark.parametrize("state", [None, *State])
@pytest.mark.parametrize("fault", list(MALFORMED))
def test_what_is_no_order_never_passes(fault: str, state: State | None) -> None:
    """A malformed order is refused in every state, verified or not, and the reason names why."""
    guarded = Guarded()
    if state is not None:
        guarded.know(guarded.truth.decide(COIN, state), guarded.truth.decide(VENUE, state))
    assert bool(guarded.switch.allows(**ORDER)) is (state in (State.NORMAL, State.WATCH))
    answer = guarded.switch.allows(**ORDER | MALFORMED[fault]())
    assert not answer
    assert (answer.state, answer.scope) == (State.HALT, "(order)")
    assert fault in answer.reason


@pytest.mark.parametrize("venue", [Text.KRAKEN, Loud.KRAKEN])
def test_members_of_text_enums_mean_their_text(venue: str) -> None:
    """An enum member that is text is bound by the scopes of its text, also the second time."""
    guarded = Guarded()
    guarded.know(guarded.truth.decide(VENUE, State.HALT), guarded.truth.decide(COIN, State.HALT))
    for _ in range(2):
        assert guarded.switch.allows(counterparty=venue).scope == VENUE
        for assets in (Text.USDC, ("BTC", Text.USDC), ["BTC", "USDC"]):
            assert guarded.switch.allows(asset=assets).scope == COIN  # type: ignore[arg-type]


def test_numbers_of_other_types_count() -> None:
    """Whole numbers and decimals are sizes like floats, and count towards the cap."""
    guarded = Guarded().old()
    guarded.know(guarded.truth.decide(COIN, State.HALT, guarded.unwind()))
    ask = guarded.switch.allows
    assert ask(**ORDER, reduces=True, usd=60, slip_bp=25)
    assert ask(**ORDER, reduces=True, usd=Decimal(40), slip_bp=Decimal(25))  # type: ignore[arg-type]
    assert not ask(**ORDER, reduces=True, usd=1, slip_bp=25)


def test_a_cancel_passes_whatever_else_is_wrong() -> None:
    """A cancel is exactly True, and then nothing else matters."""
    switch = Guarded().switch
    assert switch.allows(counterparty=b"kraken", cancel=True)  # type: ignore[arg-type]


def test_each_fault_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    """A loop of malformed orders writes one line, and another fault another."""
    guarded = Guarded().know()
    with caplog.at_level(logging.ERROR, "riskwatch.client"):
        for _ in range(3):
            guarded.switch.allows(book=b"arb")  # type: ignore[arg-type]
        guarded.switch.allows(book=1)  # type: ignore[arg-type]
    assert [record.getMessage() for record in caplog.records] == [
        "kill switch: an order is refused: book must be text, was bytes",
        "kill switch: an order is refused: book must be text, was int",
    ]


@pytest.mark.parametrize("book", ["a/b", "a:b", "a b", "", "USD\u0421"])
def test_a_book_that_cannot_be_halted_cannot_trade(book: str) -> None:
    """The worker accepts no scope of such a book, and the guard no order of it."""
    assert not is_scope(f"book:{book}")
    assert not Guarded().know().switch.allows(book=book)


@pytest.mark.parametrize(
    "book", ["arb", "b\u00fcro", "\u5957\u5229BTC", "\u0431\u0438\u0440\u0436\u0430"]
)
def test_a_book_that_can_be_halted_is_halted(book: str) -> None:
    """Names of one script are accepted on both sides, and the HALT binds."""
    assert is_scope(f"book:{book}")
    guarded = Guarded().know()
    assert guarded.switch.allows(book=book)
    guarded.know(guarded.truth.decide(f"book:{book}", State.HALT))
    assert not guarded.switch.allows(book=book)


def test_names_beyond_the_bound_are_checked_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The store of checked names is bounded; later names are answered like the first ones."""
    monkeypatch.setattr("riskwatch.client.guard.switch._MAX_NAMES", 3)
    guarded = Guarded()
    guarded.know(guarded.truth.decide("book:b9", State.HALT))
    answers = [bool(guarded.switch.allows(book=f"b{n}")) for n in range(10)]
    assert answers == [True] * 9 + [False]
    assert len(guarded.switch._names) == 3
