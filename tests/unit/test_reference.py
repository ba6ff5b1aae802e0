"""The shipped reference data and limits: what is said about the names that matter most."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from riskwatch.config import consistency
from riskwatch.config.config import load_limits, load_reference
from riskwatch.scenarios import load as episode
from riskwatch.scenarios import names

if TYPE_CHECKING:
    from pathlib import Path

    from riskwatch.core.reference import LimitsConfig, Reference


@pytest.fixture(scope="module")
def known(root: Path) -> Reference:
    """Return the shipped reference data."""
    return load_reference(root / "rules")


@pytest.fixture(scope="module")
def limits(root: Path) -> LimitsConfig:
    """Return the shipped limits."""
    return load_limits(root / "rules")


@pytest.mark.parametrize(
    ("coin", "issuer"),
    [
        ("USDT", "tether"), ("USDC", "circle"), ("DAI", "sky"), ("USDS", "sky"),
        ("BUSD", "paxos"), ("PYUSD", "paxos"), ("USDP", "paxos"), ("TUSD", "techteryx"),
        ("FDUSD", "first-digital"), ("USDe", "ethena"), ("UST", "terra"), ("FRAX", "frax"),
        ("GUSD", "gemini"), ("LUSD", "liquity"), ("USDD", "tron-dao"), ("EURC", "circle"),
    ],
)  # fmt: skip
def test_widely_used_coins_lead_to_their_issuer(known: Reference, coin: str, issuer: str) -> None:
    """A stablecoin has a peg that is fiat, and an issuer that is a party."""
    asset = known.assets[coin]
    assert asset.issuer == issuer
    assert known.assets[asset.peg or "?"].fiat
    assert issuer in known.parties


def test_the_better_backed_the_tighter(known: Reference) -> None:
    """The prior at the peg is tightest for large coins backed by cash, loosest for promises."""
    widths: dict[str, list[float]] = {}
    for asset in known.assets.values():
        if asset.peg:
            widths.setdefault(asset.collateral, []).append(asset.prior_bp)
    assert known.assets["USDT"].prior_bp == known.assets["USDC"].prior_bp == min(widths["fiat"])
    assert max(widths["fiat"]) <= min(widths["crypto"]) < min(widths["algorithmic"])
    assert known.assets["UST"].prior_bp >= 50.0


def test_circle_leads_to_its_bank(known: Reference) -> None:
    """3.3 of about 40 bn of USDC's reserves were at Silicon Valley Bank in March 2023."""
    shares = {b.holder: b.share for b in known.parties["circle"].backing}
    assert shares["svb"] == pytest.approx(3.3 / 40.0)
    assert {known.parties[holder].kind for holder in shares} == {"bank"}


def test_the_unrated_are_what_was_observed(known: Reference) -> None:
    """Of rated venues 7.7 % a year failed; nothing is safer than the floor."""
    assert known.pd_by_rating["unrated"] == 0.077
    assert min(known.pd_by_rating.values()) >= consistency.PD_FLOOR


def test_every_kind_of_party_is_there(known: Reference) -> None:
    """Venues, custodians, banks, issuers and lenders can each be looked up."""
    kinds = {party.kind for party in known.parties.values()}
    assert kinds >= {"exchange", "custodian", "bank", "issuer", "lender"}


def test_native_tokens_lead_back(known: Reference) -> None:
    """A venue's own token is issued by it or by its group, so both directions of wrong way show."""
    for party in known.parties.values():
        if party.native_token:
            issuer = known.party(known.assets[party.native_token].issuer or "?")
            assert issuer.id == party.id or issuer.group == party.group, party.id


MADE_UP = {"eastgate", "shutgate"}
"""Venues of episodes whose facts name none; what is not known of them has cautious defaults."""


@pytest.mark.parametrize("name", names())
def test_episodes_speak_of_known_names(known: Reference, name: str) -> None:
    """What an embedded episode trades, and where: all but venues that were made up for it."""
    for feed in episode(name).feeds:
        assert {feed.base, feed.quote} <= known.assets.keys()
        assert feed.venue in known.parties or feed.venue in MADE_UP


def test_limits_suit_the_reference(known: Reference, limits: LimitsConfig) -> None:
    """No shipped limit is about a name that nothing knows, and each kind has a default."""
    assert consistency.unknown_subjects(limits, known) == []
    defaults = {limit.scope_kind for limit in limits.limits if limit.subject == "*"}
    assert defaults == {"counterparty", "issuer", "bank", "asset", "book", "group", "firm"}
