"""Explanations: every part of a decision is described in words."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

from riskwatch.core.enums import Cause
from riskwatch.store import queries
from riskwatch.store.audit import audit_row
from riskwatch.store.explain import CAUSES, explain_alert, explain_decision
from tests.support.batches import alert, decision
from tests.support.views import fill

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine

WORDS = """\
Decision: asset:USDC from WATCH to REDUCE, 2023-03-11T03:02:00Z
  id {id}, after tick/2
  asked for by the static rules (asset.discount), engine 0.3.0
Why:
  - USDC is 180 bp under its peg for 10 min, limit 100 bp
  - café \ufffd note
Values against thresholds:
  discount_bp: 180 bp, threshold 100 bp (1.80 times)
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
Kill switch: asset:USDC REDUCE from 2023-03-11T03:02:00Z
Kill switch: asset:USDC HALT from 2023-03-11T03:04:00Z"""


def stored(engine: Engine) -> dict[str, Any]:
    """Return the sample decision as the database has it."""
    fill(engine)
    with engine.connect() as conn:
        _, made = queries.find_alert_and_decision(conn, decision(2).id)
    assert made is not None
    return made


def test_a_decision_is_explained_in_full(engine: Engine) -> None:
    """The text holds every part: time, reasons, thresholds, dollars and the smallest change."""
    made = stored(engine)
    switches = [
        {"scope": "asset:USDC", "effective": state, "ts": ts, "valid_until": until}
        for state, ts, until in (
            ("REDUCE", decision(2).ts, decision(6).ts),
            ("HALT", decision(4).ts, decision(8).ts),
        )
    ]
    text = "\n".join(explain_decision(made, switches))
    assert text == WORDS.format(id=decision(2).id)


def test_what_is_absent_is_left_out_or_named(engine: Engine) -> None:
    """A decision without flip, feeds, a value and exposure omits or names each."""
    made = stored(engine) | {
        "generation": "anchored",
        "features": {},
        "flip": {},
        "support": [],
        "refute": [],
        "exposure_usd": Decimal(0),
    }
    text = "\n".join(explain_decision(made))
    assert "generation anchored" in text
    assert "discount_bp: no value, threshold 100 bp" in text
    assert "logit units" in text
    assert "none is known" in text
    assert "we hold nothing there" in text
    assert "agree" not in text
    assert "Kill switch" not in text


def test_an_alert_says_where_it_stands(engine: Engine) -> None:
    """The text gives open or resolved, and the number of raises."""
    fill(engine)
    with engine.connect() as conn:
        first, _ = queries.find_alert_and_decision(conn, alert(2).id)
        second, _ = queries.find_alert_and_decision(conn, alert(3.5).id)
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
    """Every cause has a text."""
    assert set(CAUSES) == {cause.value for cause in Cause}


def test_a_model_says_what_its_parts_come_to(engine: Engine) -> None:
    """The sum of parts is one line, marked if it is approximate."""
    made = stored(engine) | {
        "generation": "anchored",
        "contributions": {"bias": -1.0, "discount_bp": 2.0},
        "limits": {"p.anchored.depeg": 0.6},
        "features": {"p.anchored.depeg": 0.731059},
    }
    text = "\n".join(explain_decision(made))
    assert "together +1, which is a probability of 73.11 %\n" in text
    made["features"] = {"p.anchored.depeg": 0.8}
    text = "\n".join(explain_decision(made))
    assert "73.11 %; approximate, for the model said 80.00 %" in text


def test_every_input_that_asked_is_part_of_the_smallest_change(engine: Engine) -> None:
    """All inputs are listed, because one alone would change nothing."""
    one = {"feature": "discount_bp", "value": 180.0, "needed": 100.0, "unit": "bp"}
    other = {"feature": "limit_ratio", "value": 1.5, "needed": 1.0, "unit": ""}
    made = stored(engine)
    text = explain_decision(made | {"flip": {**one, "also": [other]}})
    at = text.index("Smallest change that would have altered it, all of these together:")
    assert text[at + 1 : at + 3] == [
        "  - discount_bp at 100 bp instead of 180 bp",
        "  - limit_ratio at 1 instead of 1.5",
    ]
    text = explain_decision(made | {"flip": {"rule": "r", "needed": "any value"}})
    assert "Smallest change that would have altered it: any value (r)" in text


def test_the_row_of_the_chain_is_named(engine: Engine) -> None:
    """The text names the audit row, and the command that derives the decision again."""
    made = stored(engine)
    with engine.connect() as conn:
        row = audit_row(conn, made["id"])
    assert row is not None
    last = explain_decision(made, row=row)[-1]
    assert last.startswith(f"Record: row {row.seq} of the audit chain of w, {row.digest[:16]}; ")
    assert f"`riskwatch verify {made['id'][:12]}`" in last
