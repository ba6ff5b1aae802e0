"""Tests of the sizes of derivatives: quantities and contracts, and what contradicts them."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import pytest
from msgspec.structs import replace

from riskwatch.contracts.refusal import Refusal
from riskwatch.contracts.validation import CHECKS
from riskwatch.core.events import NO_QTY, Fill, Position
from riskwatch.core.ledger.config import LedgerConfig
from riskwatch.core.ledger.stage import LedgerStage
from riskwatch.core.outputs import EventRejected
from riskwatch.core.reference import Instrument, Reference
from tests.support.facts import fill, position, read, run, tick

if TYPE_CHECKING:
    import msgspec

    from riskwatch.core.readings import OpenPosition

PERP: Final = {"instrument": "BTC-PERP"}
INVERSE: Final[dict[str, Any]] = {"contract_type": "inverse", "contract_size": Decimal(10)}


def short(contracts: str, **fields: Any) -> dict[str, Any]:
    """Return the fields of a short position in contracts."""
    return {"qty": None, "contracts": Decimal(contracts), "side": "short", **fields}


def opened(*events: msgspec.Struct, stage: LedgerStage | None = None) -> list[OpenPosition]:
    """Return the positions after events."""
    return read(run([*events, tick(60)], stage=stage)).positions


def refusals(*events: msgspec.Struct, stage: LedgerStage | None = None) -> list[str]:
    """Return why the ledger refuses events."""
    return [out.detail for out in run(events, stage=stage) if isinstance(out, EventRejected)]


def sizes(*events: msgspec.Struct) -> list[tuple[str, str]]:
    """Return side and size of the positions after events."""
    return [(p.side, str(p.qty)) for p in opened(*events)]


def test_contracts_times_their_size_is_the_quantity() -> None:
    """Five contracts of a hundredth of a coin are a twentieth of a coin, short."""
    stated = short("5", contract_size=Decimal("0.01"))
    assert sizes(position("1", 0, "0", **stated)) == [("short", "-0.05")]
    assert sizes(position("1", 0, "0", **{**stated, "hedged": False})) == [("", "-0.05")]


def test_contracts_without_a_side_have_a_sign() -> None:
    """Below zero is short, and there is one position."""
    assert sizes(position("1", 0, "0", qty=None, contracts=Decimal(-3))) == [("", "-3")]


def test_one_position_turns_from_long_to_short() -> None:
    """With `hedged` false the short position replaces the long one."""
    first = {"qty": None, "contracts": Decimal(3), "side": "long", "hedged": False}
    second = {**first, "side": "short", "contracts": Decimal(2)}
    assert sizes(position("1", 0, "0", **first), position("2", 5, "0", **second)) == [("", "-2")]


def test_quantity_and_contracts_must_agree() -> None:
    """What contradicts itself is refused, with both sizes, and what agrees is taken."""
    (why,) = refusals(position("1", 0, "0", **{**short("5"), "qty": Decimal(-4)}))
    assert "qty=-4 does not agree" in why
    assert "-5" in why
    assert sizes(position("1", 0, "0", **{**short("5"), "qty": Decimal(-5)})) == [("short", "-5")]


def test_an_inverse_quantity_must_agree_at_the_mark() -> None:
    """Ten coins at 60,000 are 60,000 contracts of ten dollars; eleven are not."""
    stated = {**INVERSE, "contracts": Decimal(60_000), "mark_price": Decimal(60_000)}
    assert sizes(position("1", 0, "10", **stated)) == [("", "600000")]
    (why,) = refusals(position("1", 0, "11", **stated))
    assert "does not agree" in why


def test_an_inverse_position_is_stated_by_contracts() -> None:
    """A quantity alone would be an amount of the base, and is refused, as is its later fill."""
    (why,) = refusals(position("1", 0, "600000", **INVERSE))
    assert "state contracts" in why
    held = position("1", 0, "0", qty=None, contracts=Decimal(60_000), **INVERSE)
    (why,) = refusals(held, fill("2", 1, kind="perp", qty="1", **PERP))
    assert "state contracts" in why


def test_fills_of_contracts_add_to_a_stated_position() -> None:
    """The terms that the position stated hold for fills that do not say them."""
    held = position("1", 0, "0", qty=None, contracts=Decimal(60_000), **INVERSE)
    sold = fill("2", 1, kind="perp", qty=NO_QTY, contracts=Decimal(1_000), side="sell", **PERP)
    (found,) = opened(held, sold)
    assert (str(found.qty), found.form, str(found.contract_size)) == ("590000", "inverse", "10")


def test_another_form_than_before_is_refused() -> None:
    """A position cannot be inverse now and linear then."""
    held = position("1", 0, "0", qty=None, contracts=Decimal(60_000), **INVERSE)
    (why,) = refusals(held, position("2", 5, "1", contract_type="linear"))
    assert "contract_type=linear was=inverse" in why


def test_fills_that_counted_as_coins_are_not_made_contracts() -> None:
    """The sum of both would have no unit."""
    coins = fill("1", 0, kind="perp", **PERP)
    more = fill("2", 1, kind="perp", qty=NO_QTY, contracts=Decimal(5), **PERP, **INVERSE)
    (why,) = refusals(coins, more)
    assert "was=linear" in why


def test_the_reference_data_says_what_does_not_change() -> None:
    """A listed instrument needs no terms in its events."""
    listed = Instrument(id="kraken/BTC-PERP", contract_type="inverse", contract_size=10.0)
    reference = Reference(assets={}, parties={}, pd_by_rating={}, instruments={listed.id: listed})
    stage = LedgerStage(LedgerConfig(), reference)
    bought = fill("1", 0, kind="perp", qty=NO_QTY, contracts=Decimal(7), **PERP)
    (found,) = opened(bought, stage=stage)
    assert (str(found.qty), found.form) == ("70", "inverse")
    assert refusals(fill("2", 1, kind="perp", **PERP), stage=stage) != []


def test_a_fill_changes_the_leg_that_it_names() -> None:
    """In hedge mode buying back a short leg leaves the long one alone."""
    legs = [position("1", 0, "5", side="long"), position("2", 0, "-4", side="short")]
    bought = fill("3", 1, kind="perp", position_side="short", **PERP)
    assert sizes(*legs, bought) == [("long", "5"), ("short", "-3")]


def test_greeks_are_of_the_size_that_was_stated() -> None:
    """After a fill the delta is not known until the venue states it again."""
    held = position("1", 0, "5", kind="option", delta=Decimal(2))
    assert opened(held)[0].delta == 2
    assert opened(held, fill("2", 1, kind="option", **PERP))[0].delta is None


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"qty": None}, "`contracts`"),
        ({"contracts": Decimal(-1), "side": "long"}, "contracts must be >= 0"),
        ({"contract_size": Decimal(0)}, "contract_size must be > 0"),
        ({"hedged": True}, "side is required"),
        ({"delta_convention": "black_scholes"}, "delta is required"),
    ],
)
def test_a_position_that_does_not_say_enough_is_refused(fields: dict[str, Any], word: str) -> None:
    """Each fault names its field."""
    refusal = CHECKS[Position](position("1", 0, "1", **fields))
    assert isinstance(refusal, Refusal)
    assert word in refusal.detail


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"kind": "spot", "contracts": Decimal(1)}, "contracts are for a derivative"),
        ({"kind": "perp", "contracts": Decimal(0), **PERP}, "contracts must be > 0"),
    ],
)
def test_a_fill_of_wrong_contracts_is_refused(fields: dict[str, Any], word: str) -> None:
    """Each fault names its field."""
    refusal = CHECKS[Fill](fill("1", 0, **fields))
    assert isinstance(refusal, Refusal)
    assert word in refusal.detail


def test_a_fill_needs_no_quantity_beside_its_contracts() -> None:
    """The contracts alone state its size."""
    event = fill("1", 0, kind="perp", contracts=Decimal(2), **PERP)
    assert CHECKS[Fill](replace(event, qty=NO_QTY)) is None
