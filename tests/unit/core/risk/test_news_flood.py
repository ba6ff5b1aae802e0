"""Who invents subjects, sources or events of news fills no table, and changes nothing listed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from riskwatch.core.enums import QualityIssue, RejectReason, State
from riskwatch.core.events import Credit, LegalEntity, NettingSet
from riskwatch.core.outputs import (
    DataQualityRaised,
    DataQualityResolved,
    DecisionMade,
    EventRejected,
)
from riskwatch.core.risk.config import RiskConfig
from riskwatch.core.risk.credit import FOREIGN_SUBJECTS, SOURCE_SHARE, news_weight
from riskwatch.core.risk.reports import NAMED_WRITERS
from riskwatch.core.risk.state import scorer_rows
from tests.support.risk import Desk, asset, desk, held, market, news, of

if TYPE_CHECKING:
    from riskwatch.core.outputs import Output

DAY = 1_440
FLOOD = 10_000
SHARE = FOREIGN_SUBJECTS // SOURCE_SHARE
WEIGHTS = {"court": 1.0}


def say(d: Desk, n: int, subject: str, minutes: float = 0, **fields: Any) -> list[Output]:
    """Tell one item of credit news; return what the stage put out."""
    given: dict[str, Any] = {"source": "liar", "kind": "hack"} | fields
    return d.tell(news(Credit, minutes, f"n{n}", subject=subject, **given))


def full(outputs: list[Output]) -> list[str]:
    """Subjects of the alerts about news without room."""
    return [o.subject for o in of(outputs, DataQualityRaised) if o.issue is QualityIssue.TABLE_FULL]


def busy_day(d: Desk) -> list[Output]:
    """Report a holding, a falling coin and news of listed names; return what is said of them."""
    d.tell(held(1, ("USDC", "5000")))
    d.tell(news(Credit, 2, "real", source="press", subject="kraken", kind="withdrawals_suspended"))
    for n in range(3, 20):
        d.tick(n, market(n, asset("USDC", deviation_bp=-20.0 * n, seen=n)))
    d.tell(news(Credit, 20, "end", source="court", subject="svb", kind="insolvency"))
    d.tick(20)
    return [o for o in d.out if "invented" not in str(o) and "liar" not in str(o)]


def test_invented_subjects_change_nothing_that_is_listed() -> None:
    """Of 10,000 one writer gets a quarter of the room; the others are dead letters, and told."""
    quiet, flooded = desk(source_weights=WEIGHTS), desk(source_weights=WEIGHTS)
    for n in range(FLOOD):
        kind = ("insolvency", "hack", "outlook")[n % 3]
        say(flooded, n, f"invented{n}", kind=kind)
    refused = of(flooded.out, EventRejected)
    assert len(refused) == FLOOD - SHARE
    assert {r.reason for r in refused} == {RejectReason.LIMIT_REACHED}
    assert full(flooded.out) == ["news:liar"]
    assert busy_day(flooded) == busy_day(quiet)
    assert of(quiet.out, DecisionMade)
    assert len(flooded.state.credit) == SHARE + len(quiet.state.credit)
    assert len(flooded.state.scopes) <= SHARE + len(quiet.state.scopes)


@pytest.mark.parametrize("kind", [LegalEntity, NettingSet])
def test_invented_counterparties_of_legal_data_are_bounded(kind: type) -> None:
    """Legal entities and netting sets share the room with news."""
    fields: dict[str, Any] = (
        {"entity": "x", "jurisdiction": "KY"}
        if kind is LegalEntity
        else {"netting_set": "s", "enforceable": True, "accounts": ["a", "b"]}
    )
    d = desk()
    for n in range(SHARE):
        say(d, n, f"invented{n}")
    event = news(kind, 0, "e", source="liar", counterparty="another", **fields)
    (refused,) = of(d.tell(event), EventRejected)
    assert refused.reason is RejectReason.LIMIT_REACHED
    d.tell(news(kind, 0, "k", source="liar", counterparty="kraken", **fields))
    assert "kraken" in d.state.credit


def test_invented_writers_leave_room_for_the_named() -> None:
    """Together they have the room of all; a source that the policy names has its own."""
    d = desk(source_weights=WEIGHTS)
    for n in range(FLOOD):
        say(d, n, f"invented{n}", source=f"liar{n}")
    assert len(d.state.credit) == FOREIGN_SUBJECTS
    named = [f"news:liar{FOREIGN_SUBJECTS + n}" for n in range(NAMED_WRITERS)]
    assert full(d.out) == [*named, "news:*"]
    say(d, 0, "unlisted-exchange", source="court", kind="insolvency")
    d.tick(1)
    assert of(d.out, DecisionMade, "counterparty:unlisted-exchange")[-1].state is State.HALT


def test_what_we_hold_has_room() -> None:
    """A counterparty with a holding is no invention, however full the table is."""
    d = desk()
    d.tell(held(0, ("USDC", "5"), party="private-desk"))
    for n in range(SHARE + 1):
        say(d, n, f"invented{n}")
    assert not of(say(d, 0, "private-desk", kind="insolvency"), EventRejected)
    assert d.state.credit["private-desk"].items


def test_a_subject_of_many_lies_hears_the_truth() -> None:
    """10,000 items about a listed name: the court halts it, and so do three honest sources."""
    d = desk(source_weights=WEIGHTS)
    for n in range(FLOOD):
        say(d, n, "kraken", kind="outlook", source=f"liar{n}")
        say(d, -n, "kraken", kind="withdrawals_suspended", assets=[f"GEM{n}"])
    assert len(d.state.credit["kraken"].items) <= d.stage.config.max_credit
    for n, source in enumerate(("a", "b", "c")):
        assert not of(say(d, n, "kraken", 1, source=source, kind="insolvency"), EventRejected)
    assert news_weight(d.state.credit["kraken"], ("insolvency",), d.stage.config) == 1.02
    assert not of(say(d, 9, "kraken", 1, source="court", kind="default"), EventRejected)
    d.tick(2)
    assert of(d.out, DecisionMade, "counterparty:kraken")[-1].state is State.HALT


def test_one_source_repeats_itself_in_its_own_room() -> None:
    """Its newer words replace its older ones that say the same, and its weight stays."""
    d = desk()
    for n in range(1_000):
        assert not of(say(d, n, "kraken", n, source="press", kind="hack"), EventRejected)
    items = d.state.credit["kraken"].items
    assert len(items) == d.stage.config.max_credit // SOURCE_SHARE + 1
    assert items[0].event_id == "n935"
    assert items[-1].event_id == "n999"
    assert news_weight(d.state.credit["kraken"], ("hack",), d.stage.config) == 0.34


def test_nothing_said_gives_way() -> None:
    """A full table refuses what is new; every report that counted still counts."""
    d = desk()
    for n in range(3):
        say(d, n, "unlisted-bank", source=f"press{n}", kind="insolvency")
    d.tick(1)
    for n in range(FLOOD):
        say(d, n, f"invented{n}", 2, source=f"liar{n}", kind="insolvency")
    d.tick(3)
    assert d.state.scopes["counterparty:unlisted-bank"].state is State.HALT
    assert len(d.state.credit["unlisted-bank"].items) == 3


def test_an_ending_of_what_nobody_said_leaves_no_row() -> None:
    """It has nothing to end."""
    d = desk()
    say(d, 1, "invented", kind="withdrawals_resumed")
    assert not d.state.credit


def test_subjects_are_forgotten_but_for_failures() -> None:
    """After the memory of news, a subject that is not ours goes; a failure and a decision stay."""
    d = desk()
    say(d, 1, "quiet", kind="outlook")
    say(d, 2, "failed", kind="insolvency")
    say(d, 3, "watched", kind="hack")  # has a scope at WATCH from then on
    say(d, 4, "kraken", kind="outlook")
    d.tell(held(0, ("USDC", "5"), party="private-desk"))
    say(d, 5, "private-desk", kind="outlook")
    d.tick(1, market(1, asset("USDC")))
    assert d.state.scopes["counterparty:watched"].state is State.WATCH
    d.state.drain()
    for minutes in (89 * DAY, 89 * DAY + 6):
        d.tick(minutes, market(minutes, asset("USDC")))
    assert len(d.state.credit) == 5
    d.tick(91 * DAY, market(91 * DAY, asset("USDC")))
    assert sorted(d.state.credit) == ["failed", "kraken", "private-desk", "watched"]
    assert d.state.drain()["credit/quiet"] is None


def test_what_is_forgotten_makes_room() -> None:
    """The writer can name others then, and the alert ends when nothing more is refused."""
    d = desk()
    for n in range(SHARE + 1):
        say(d, n, f"invented{n}", kind="outlook")
    d.tick(10, market(10, asset("USDC")))
    assert not of(d.out, DataQualityResolved)
    d.tick(20, market(20, asset("USDC")))
    assert [o.subject for o in of(d.out, DataQualityResolved)] == ["news:liar"]
    d.tick(91 * DAY, market(91 * DAY, asset("USDC")))
    assert not d.state.credit
    assert not of(say(d, 1, "another", 91 * DAY, kind="outlook"), EventRejected)


def test_bounds_survive_a_restart() -> None:
    """The counts follow from the rows."""
    d = desk()
    for n in range(SHARE):
        say(d, n, f"invented{n}")
    rows = {key: row for key, row in d.state.drain().items() if row is not None}
    again = d.stage.fresh()
    again.load(rows)
    assert scorer_rows(rows) == {}
    d.state = again
    assert of(say(d, 1, "another"), EventRejected)
    assert not of(say(d, 2, "another", source="press"), EventRejected)


def test_rows_of_an_older_build_have_no_writer() -> None:
    """They count for nobody, and age by their newest item."""
    d = desk()
    say(d, 1, "quiet", kind="outlook")
    row = d.state.credit["quiet"]
    row.by, row.us = "", 0
    d.tick(1, market(1, asset("USDC")))
    assert "quiet" in d.state.credit
    d.tick(91 * DAY, market(91 * DAY, asset("USDC")))
    assert "quiet" not in d.state.credit


def test_a_named_source_may_use_the_room_of_a_subject() -> None:
    """Its room is its own: others neither take it nor lose theirs to it."""
    config = RiskConfig(source_weights=WEIGHTS)
    d = desk(source_weights=WEIGHTS)
    for n in range(config.max_credit):
        assert not of(say(d, n, "kraken", kind="outlook", source="court"), EventRejected)
    assert not of(say(d, 1, "kraken", kind="outlook", source="press"), EventRejected)
