"""Explanations: every part of a decision is said, in words."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

from riskwatch.core.reasons import Cause
from riskwatch.store import queries
from riskwatch.store.explain import CAUSES, explain_alert, explain_decision
from tests.support.batches import alert, decision
from tests.support.views import fill

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine

WORDS = """\
Decision: asset:USDC from WATCH to REDUCE, 2023-03-11T03:02:00Z
  id {id}, after tick/2
  asked for by the static rules (asset.discount), engine 0.1.0
Why:
  - USDC is 180 bp under its peg for 10 min, limit 100 bp
  - café \ufffd note
Values against thresholds:
  discount_bp: 180, threshold 100 (1.80 times)
  also seen: huge 1e+22, live_share 1, tiny 1e-07
Cause: issuer (the coin's own value moved, on two or more independent venues)
  the data behind it was good
  agree: kraken:USDC/USD, bitstamp:USDC/USD
  contradict: binance:USDC/USDT
Contributions (severity, 1 is the threshold):
  discount_bp  +1.8
  live_share   -0.2
Smallest change that would have altered it: discount_bp at 99.9 bp instead of 180 bp
Dollars: exposed 970.00 USD
  expected loss of staying 12.50 USD, cost of leaving 1.94 USD: leaving is cheaper
Kill switch: asset:USDC REDUCE from 2023-03-11T03:02:00Z, valid until 2023-03-11T03:06:00Z
Kill switch: asset:USDC HALT from 2023-03-11T03:04:00Z, valid until 2023-03-11T03:08:00Z"""


def stored(engine: Engine) -> dict[str, Any]:
    """Return the sample decision as the database has it."""
    fill(engine)
    with engine.connect() as conn:
        _, made = queries.find(conn, decision(2).id)
    assert made is not None
    return made


def test_a_decision_is_explained_in_full(engine: Engine) -> None:
    """What, when, who, why, against which thresholds, for which dollars, and what if."""
    made = stored(engine)
    switches = [
        {"scope": "asset:USDC", "effective": state, "ts": ts, "valid_until": until}
        for state, ts, until in (
            ("REDUCE", decision(2).ts, decision(6).ts),
            ("HALT", decision(4).ts, decision(8).ts),
        )
    ]
    said = "\n".join(explain_decision(made, switches))
    assert said == WORDS.format(id=decision(2).id)


def test_what_is_absent_is_left_out_or_named(engine: Engine) -> None:
    """A model's decision with no flip, no feed, a missing value, and nothing held."""
    made = stored(engine) | {
        "generation": "anchored",
        "features": {},
        "flip": {},
        "support": [],
        "refute": [],
        "exposure_usd": Decimal(0),
    }
    said = "\n".join(explain_decision(made))
    assert "generation anchored" in said
    assert "discount_bp: no value, threshold 100" in said
    assert "logit units" in said
    assert "none is known" in said
    assert "we hold nothing there" in said
    assert "agree" not in said
    assert "Kill switch" not in said


def test_an_alert_says_where_it_stands(engine: Engine) -> None:
    """Open or resolved, and how often it was raised."""
    fill(engine)
    with engine.connect() as conn:
        first, _ = queries.find(conn, alert(2).id)
        second, _ = queries.find(conn, alert(3.5).id)
    assert first is not None
    assert second is not None
    lines = explain_alert(first)
    assert lines[0] == "Alert asset:USDC: USDC is 3 % under its peg"
    assert lines[2].endswith("opened 2023-03-11T03:02:00Z, resolved 2023-03-11T03:03:00Z")
    assert "  our exposure: 970.00 USD" in lines
    open_lines = explain_alert(second)
    assert open_lines[2].endswith("still open")
    assert open_lines[3] == "  last raised 2023-03-11T03:04:00Z, raised 2 times"


def test_every_cause_has_words() -> None:
    """A new cause needs a sentence."""
    assert set(CAUSES) == {cause.value for cause in Cause}
