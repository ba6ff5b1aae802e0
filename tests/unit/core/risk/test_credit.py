"""Credit news: sources, quorum, retraction, endings, and rejected events."""

from __future__ import annotations

import pytest

from riskwatch.core.enums import RejectReason, State
from riskwatch.core.events import Credit
from riskwatch.core.outputs import DecisionMade, EventRejected
from riskwatch.core.risk.config import RiskConfig
from riskwatch.core.risk.credit import credit_rating, named_parts, news_weight
from tests.support.risk import REFERENCE, Desk, asset, desk, market, news, of

CONFIG = RiskConfig(source_weights={"court": 1.0})


def desk_with_news(*stories: tuple[str, str, str]) -> Desk:
    """Return a desk that received (event id, source, kind) about kraken."""
    d = desk(source_weights={"court": 1.0})
    for i, (name, source, kind) in enumerate(stories):
        d.tell(news(Credit, i, name, source=source, subject="kraken", kind=kind))
    return d


def weight_of_news(d: Desk, *kinds: str) -> float:
    """Return the weight of news about kraken."""
    return round(news_weight(d.state.credit.get("kraken"), kinds, CONFIG), 6)


def test_each_source_counts_once() -> None:
    """A rumour that one source repeats counts once; three sources confirm it."""
    repeated = desk_with_news(("1", "blog", "insolvency"), ("2", "blog", "insolvency"))
    assert weight_of_news(repeated, "insolvency") == 0.34
    three = desk_with_news(
        ("1", "a", "insolvency"), ("2", "b", "insolvency"), ("3", "c", "default")
    )
    assert weight_of_news(three, "insolvency", "default") == 1.02
    assert weight_of_news(desk_with_news(("1", "court", "insolvency")), "insolvency") == 1.0


@pytest.mark.parametrize(
    ("sources", "state"),
    [(("a",), State.WATCH), (("a", "b"), State.REDUCE), (("a", "b", "c"), State.HALT),
     (("court",), State.HALT)],
)  # fmt: skip
def test_a_halt_needs_a_quorum_or_who_must_know(sources: tuple[str, ...], state: State) -> None:
    """One rumour does not halt a counterparty."""
    d = desk_with_news(*((str(i), source, "insolvency") for i, source in enumerate(sources)))
    d.tick(10)
    assert of(d.out, DecisionMade, "counterparty:kraken")[-1].state is state


def test_only_its_source_can_take_news_back() -> None:
    """A retraction by another source is rejected, with the reason."""
    d = desk_with_news(("1", "blog", "insolvency"))
    wrong = news(Credit, 1, "2", source="rival", subject="kraken", kind="retraction", retracts="1")
    (refused,) = of(d.tell(wrong), EventRejected)
    assert refused.reason is RejectReason.FACT_CONFLICT
    assert weight_of_news(d, "insolvency") == 0.34
    d.tell(news(Credit, 2, "3", source="blog", subject="kraken", kind="retraction", retracts="1"))
    assert weight_of_news(d, "insolvency") == 0.0


def test_resuming_ends_what_the_same_source_said() -> None:
    """The suspension reported by another source remains."""
    d = desk_with_news(
        ("1", "a", "withdrawals_suspended"),
        ("2", "b", "withdrawals_suspended"),
        ("3", "a", "withdrawals_resumed"),
    )
    assert weight_of_news(d, "withdrawals_suspended") == 0.34


def test_partial_suspensions_are_counted_apart() -> None:
    """Named assets and networks end by name, and do not count as a full suspension."""
    d = desk()
    for i, fields in enumerate(({"assets": ["UST", "LUNA"]}, {"networks": ["terra"]})):
        d.tell(news(Credit, i, str(i), subject="kraken", kind="withdrawals_suspended", **fields))
    row = d.state.credit["kraken"]
    assert news_weight(row, ("withdrawals_suspended",), CONFIG) == 0.0
    assert named_parts(row, "withdrawals_suspended") == ["LUNA", "UST", "terra"]
    d.tell(news(Credit, 3, "3", subject="kraken", kind="withdrawals_resumed", assets=["UST"]))
    assert named_parts(row, "withdrawals_suspended") == ["LUNA", "terra"]


def test_the_latest_rating_counts_whatever_came_last() -> None:
    """A late downgrade does not undo a newer rating; an unknown scale is rejected."""
    d = desk()
    for minutes, name, grade in ((5, "1", "A"), (9, "2", "BB"), (7, "3", "BBB")):
        d.tell(news(Credit, minutes, name, subject="kraken", kind="rating", rating=grade))
    assert credit_rating("kraken", d.state.credit["kraken"], REFERENCE) == "BB"
    assert credit_rating("coinbase", None, REFERENCE) == "BB"
    (refused,) = of(
        d.tell(news(Credit, 10, "4", subject="kraken", kind="rating", rating="Z")), EventRejected
    )
    assert refused.reason is RejectReason.FIELD_RANGE


def test_news_is_bounded_and_forgotten() -> None:
    """A full row rejects news and names the limit; incidents expire, failures do not."""
    d = desk(max_credit=2, credit_memory_s=3600.0)
    for i in range(2):
        d.tell(news(Credit, i, str(i), source=f"s{i}", subject="kraken", kind="hack"))
    (refused,) = of(
        d.tell(news(Credit, 2, "2", source="s2", subject="kraken", kind="hack")), EventRejected
    )
    assert (refused.reason, "max_credit=2" in refused.detail) == (RejectReason.LIMIT_REACHED, True)
    d.tell(news(Credit, 90, "3", source="s3", subject="kraken", kind="insolvency"))
    assert [i.kind for i in d.state.credit["kraken"].items] == ["insolvency"]
    d.tell(news(Credit, 9000, "4", source="s4", subject="kraken", kind="hack"))
    assert [i.kind for i in d.state.credit["kraken"].items] == ["insolvency", "hack"]


def test_news_expires_at_a_tick() -> None:
    """Without another event about its subject; failures stay, and a HALT stays latched."""
    d = desk(credit_memory_s=3600.0, source_weights={"kraken": 1.0})
    told = (
        ("1", "kraken", "kraken", "withdrawals_suspended"),
        ("2", "kraken", "kraken", "default"),
        ("3", "press", "circle", "hack"),
    )
    for n, source, subject, kind in told:
        d.tell(news(Credit, int(n), n, source=source, subject=subject, kind=kind))
    d.tick(60.9)
    assert [len(d.state.credit[name].items) for name in ("kraken", "circle")] == [2, 1]
    states = {scope: row.state for scope, row in d.state.scopes.items()}
    d.tick(61.1)
    assert [i.kind for i in d.state.credit["kraken"].items] == ["default"]
    assert len(d.state.credit["circle"].items) == 1
    d.tick(63.1)
    assert d.state.credit["circle"].items == []
    assert {scope: row.state for scope, row in d.state.scopes.items()} == states


def test_news_that_expires_is_evaluated_at_that_tick() -> None:
    """The rules see it at once, and not at the next event."""
    d = desk(credit_memory_s=3600.0, source_weights={"kraken": 1.0})
    d.tick(1, news(Credit, 1, "1", source="kraken", subject="kraken", kind="deposits_suspended"))
    d.tick(60)
    d.state.meta.moving = False
    looked = d.state.meta.looked
    d.tick(60.5)
    assert d.state.meta.looked == looked
    d.tick(61.5)
    assert d.state.meta.looked > looked


def test_when_news_expires_follows_from_the_rows() -> None:
    """A stage that is loaded from its rows says the same and stores the same, byte for byte."""
    found = []
    for reload in (False, True):
        d = desk(credit_memory_s=3600.0)
        rows: dict[str, bytes | None] = {}
        for n in range(40):
            d.tick(n * 10.0, news(Credit, n * 10.0 - n % 3, str(n), source=f"s{n % 3}",
                                  subject=("kraken", "circle")[n % 2], kind="hack"))  # fmt: skip
            for pause in (1.0, 5.0):
                d.tick(n * 10.0 + pause)
            rows |= d.state.drain()
            if reload:
                d.state = d.stage.fresh()
                d.state.load({key: row for key, row in rows.items() if row is not None})
        found.append((rows, d.out))
    assert found[0] == found[1]


def test_a_failed_bank_is_seen_through_the_coin() -> None:
    """News about a bank affects only assets whose issuer keeps reserves there."""
    d = desk(source_weights={"court": 1.0})
    d.tick(
        1,
        market(1, asset("USDC"), asset("USDT")),
        news(Credit, 0, "1", source="court", subject="svb", kind="insolvency"),
    )
    (made,) = of(d.out, DecisionMade)
    assert (made.scope, made.state, made.rule) == (
        "asset:USDC", State.WATCH, "asset.issuer.watch"
    )  # fmt: skip
    assert made.features["backing_failed_share"] == 0.1
