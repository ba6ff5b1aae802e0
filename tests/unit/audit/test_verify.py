"""Decisions derived again from the database alone, and the reasons why it may be impossible."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from sqlalchemy import delete, select, text, update

from riskwatch.audit.incident import reconstruct_incident, render_page
from riskwatch.audit.rederivation import JournalGoneError, Rederivation
from riskwatch.audit.verify import (
    DIFFERS,
    INPUTS_ONLY,
    SAME,
    UNKNOWN,
    VerificationResult,
    check_policy,
    verify,
)
from riskwatch.config.recorder import ConfigurationRecorder, config_changes, restore_config
from riskwatch.contracts.audit import seal
from riskwatch.contracts.outputs import decode_output, encode_output
from riskwatch.core.enums import State
from riskwatch.core.outputs import ConfigurationChanged, DecisionMade
from riskwatch.engine.replay import open_database
from riskwatch.errors import StoreError
from riskwatch.store.audit import AUDIT_CHAIN, audit_rows
from riskwatch.store.audit_check import check_database
from riskwatch.store.batch import Counts, ResumePoint
from riskwatch.store.bundle import BundleManifest
from riskwatch.store.projections import DECISION_LOG
from riskwatch.store.truth import RISK_JOURNAL
from tests.support.asking import SCOPE, asked, asking
from tests.support.events import write_mixed
from tests.support.rederiving import CONFIG, WORKER, replay, tightened
from tests.support.risk import of

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy.engine import Connection


@pytest.fixture(scope="module")
def events(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An hour in which USDC goes from WATCH to HALT."""
    path = tmp_path_factory.mktemp("events") / "mixed.ndjson"
    write_mixed(path, hours=1.0)
    return path


@pytest.fixture(scope="module")
def original(events: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database that was written under two configurations, one after the other."""
    path = tmp_path_factory.mktemp("verify") / "r.db"
    replay(events, f"sqlite:///{path}", CONFIG, 300, keep=False)
    replay(events, f"sqlite:///{path}", tightened(), None, keep=False)
    return path


@pytest.fixture
def url(original: Path, tmp_path: Path) -> str:
    """A copy of it."""
    return f"sqlite:///{shutil.copy(original, tmp_path / 'copy.db')}"


def decisions(conn: Connection) -> list[str]:
    """Ids of all decisions, in order."""
    return list(conn.execute(select(DECISION_LOG.c.id).order_by(DECISION_LOG.c.ts)).scalars())


def verified(url: str, *statements: Any) -> list[VerificationResult]:
    """Verify every decision after something was done to the database."""
    with open_database(url) as engine, engine.connect() as conn:
        ids = decisions(conn)
        for trigger in ("audit_chain_update", "audit_chain_delete"):
            conn.execute(text(f"DROP TRIGGER {trigger}"))
        for statement in statements:
            conn.execute(statement)
        return verify(conn, ids)


def test_every_decision_is_derived_again(url: str) -> None:
    """Byte for byte, though the configuration changed on the way."""
    found = verified(url)
    assert len(found) >= 3
    assert [v.status for v in found] == [SAME] * len(found)
    assert all("entries of the journal give the same" in v.said[0] for v in found)


def test_a_journal_with_every_event_gives_them_too(events: Path, tmp_path: Path) -> None:
    """Then the ledger runs as well, and its readings are its own."""
    url = f"sqlite:///{tmp_path}/kept.db"
    replay(events, url, CONFIG, None, keep=True)
    found = verified(url)
    assert len(found) >= 3
    assert [v.status for v in found] == [SAME] * len(found)


def test_a_forged_decision_is_not_brought_about(url: str) -> None:
    """In the chain and in the table alike, with good digests: the journal does not give it."""
    with open_database(url) as engine, engine.begin() as conn:
        row = next(link for link in audit_rows(conn, WORKER) if link.kind == "DecisionMade")
        last = list(audit_rows(conn, WORKER))[-1]
        decision = decode_output(row.payload.encode())
        forged = msgspec.structs.replace(decision, id="f" * 32)
        payload = encode_output(forged).decode()
        link = seal(
            msgspec.structs.replace(
                row, id="f" * 32, payload=payload, seq=last.seq + 1, previous=last.digest
            )
        )
        conn.execute(AUDIT_CHAIN.insert(), msgspec.structs.asdict(link))
        table = DECISION_LOG
        stored = conn.execute(select(table).where(table.c.id == row.id)).mappings().one()
        conn.execute(table.insert(), {**stored, "id": "f" * 32})
    with open_database(url) as engine, engine.connect() as conn:
        assert check_database(conn, WORKER)[1] == []
        (verdict,) = verify(conn, ["f" * 32])
    assert verdict.status == DIFFERS
    assert "does not bring it about" in verdict.said[0]


def test_a_journal_that_was_changed_gives_something_else(url: str) -> None:
    """One quote less, and a decision differs or does not come."""
    c = RISK_JOURNAL.c
    first = verified(url)[0]
    with open_database(url) as engine, engine.connect() as conn:
        row = conn.execute(select(RISK_JOURNAL).where(c.kind == "quote").limit(1)).mappings().one()
    other = update(RISK_JOURNAL).where(c.kind == "quote").values(payload=row["payload"])
    assert [v.status for v in verified(url, other)] == [DIFFERS] * len(verified(url))
    assert first.status == SAME


def test_a_table_that_says_otherwise_differs(url: str) -> None:
    """The column is named, with what each says; so is a row that was changed or is missing."""
    d, a = DECISION_LOG.c, AUDIT_CHAIN.c
    found = verified(url, update(DECISION_LOG).values(rule="mine"))
    assert {v.status for v in found} == {DIFFERS}
    # The first decision of the episode is what `anchored` asked for.
    says = "rule: decision_log has 'mine', the audit chain 'model.anchored."
    assert found[0].said[0].startswith(says)
    found = verified(url, update(AUDIT_CHAIN).where(a.kind == "DecisionMade").values(us=0))
    assert found[0].said[0].endswith("of the audit chain was changed")
    found = verified(url, delete(DECISION_LOG).where(d.id != ""))
    assert found[0].said == ["it is in the audit chain and not in decision_log"]
    found = verified(url, delete(AUDIT_CHAIN).where(a.kind == "DecisionMade"))
    assert [v.status for v in found] == [UNKNOWN] * len(found)


def test_without_its_journal_the_policy_is_run_on_the_inputs(url: str) -> None:
    """It says so, and it finds inputs that do not ask for what was decided."""
    gone = delete(RISK_JOURNAL).where(RISK_JOURNAL.c.seq < 10)
    found = verified(url, gone)
    assert [v.status for v in found] == [INPUTS_ONLY] * len(found)
    assert "the journal begins at entry 10; what was before is archived" in found[0].said[0]
    assert found[0].said[1].startswith("on the stored inputs, the policy asks for the same")
    hole = delete(RISK_JOURNAL).where(RISK_JOURNAL.c.seq == 10)
    assert "has no entry 10 any more" in verified(url, hole)[0].said[0]
    everything = delete(RISK_JOURNAL).where(RISK_JOURNAL.c.seq > 0)
    assert "there is no journal" in verified(url, everything)[0].said[0]


def test_without_a_configuration_nothing_can_be_derived(url: str) -> None:
    """Neither from the journal nor from the inputs, and that is said."""
    a = AUDIT_CHAIN.c
    drop = delete(AUDIT_CHAIN).where(a.kind == "ConfigurationChanged")
    found = verified(url, drop)
    assert {v.status for v in found} == {UNKNOWN}
    assert "before configurations were recorded" in found[0].said[0]
    found = verified(url, drop, delete(RISK_JOURNAL).where(RISK_JOURNAL.c.seq < 10))
    assert found[0].said[1] == "the configuration of that time is not recorded"


def test_another_engine_is_named(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The policy of this one agrees on the inputs; bit for bit takes the other."""
    monkeypatch.setattr("riskwatch.audit.verify.ENGINE", "9.9.9")
    found = verified(url)
    assert {v.status for v in found} == {INPUTS_ONLY}
    assert "decided, this is 9.9.9: install that one to derive it" in found[0].said[0]


def stored(url: str) -> DecisionMade:
    """The last decision of the chain on the coin."""
    with open_database(url) as engine, engine.connect() as conn:
        links = [link for link in audit_rows(conn, WORKER) if link.kind == "DecisionMade"]
    made = [decode_output(link.payload.encode()) for link in links]
    return [d for d in made if isinstance(d, DecisionMade) and d.scope == "asset:USDC"][-1]


@pytest.mark.parametrize(
    ("altered", "said"),
    [
        ({"state": State.WATCH}, "decided was WATCH"),
        ({"features": {"discount_bp": 1.0}}, "which does not ask for anything"),
        ({"previous": State.HALT, "state": State.NORMAL}, "which data never does"),
        ({"limits": {"discount_bp": 1.0}}, "stored are {'discount_bp': 1.0}"),
        ({"rule": "asset.mine"}, "has no rule asset.mine"),
        ({"limits": {}, "state": State.WATCH}, "nothing asked for WATCH"),
        ({"limits": {}, "state": State.NORMAL}, "let go at severity"),
        ({"contributions": {}}, "severities are"),
    ],
)
def test_inputs_that_ask_for_something_else(url: str, altered: dict[str, Any], said: str) -> None:
    """Each way in which a stored decision can disagree with the policy is told."""
    decision = stored(url)
    assert list(check_policy(decision, tightened())) == []
    changed = msgspec.structs.replace(decision, **altered)
    assert any(said in line for line in check_policy(changed, tightened()))


def test_a_decision_that_a_model_asked_for_is_right_on_every_kind_of_scope() -> None:
    """An ask about a counterparty is among the rules of counterparties, and of nothing else."""
    (decision,) = of(asked().out, DecisionMade, SCOPE)
    assert (decision.state, decision.generation) == (State.HALT, "g")
    assert list(check_policy(decision, asking())) == []
    elsewhere = msgspec.structs.replace(decision, scope="asset:USDC")
    assert f"the configuration has no rule {decision.rule}" in check_policy(elsewhere, asking())
    nowhere = msgspec.structs.replace(decision, scope="desk:1")
    assert any("scope must be" in line for line in check_policy(nowhere, asking()))


def test_a_configuration_is_recorded_when_it_is_new(url: str) -> None:
    """Twice here, with what changed; and it can be made again from the record."""
    with open_database(url) as engine, engine.connect() as conn:
        found = [
            decode_output(link.payload.encode())
            for link in audit_rows(conn, WORKER)
            if link.kind == "ConfigurationChanged"
        ]
        place = [link.place for link in audit_rows(conn, WORKER)]
    first, second = found
    assert isinstance(first, ConfigurationChanged)
    assert isinstance(second, ConfigurationChanged)
    assert (first.journal, first.previous, first.changes) == (1, "", [])
    assert second.previous == first.digest
    assert "rules.rules.asset.discount.halt.any.0.at: 250.0 -> 240.0" in second.changes
    assert place == sorted(place)
    assert (restore_config(first), restore_config(second)) == (CONFIG, tightened())
    with pytest.raises(StoreError, match="has digest"):
        restore_config(msgspec.structs.replace(second, content=first.content))
    with pytest.raises(StoreError, match="cannot be read"):
        restore_config(msgspec.structs.replace(second, content={}))


def test_a_live_worker_declares_by_its_clock() -> None:
    """And nothing, if what was last recorded is what it has, by the same engine."""
    resumed = ResumePoint(1, {}, {}, Counts(), 0, 1, 1)
    (made,) = ConfigurationRecorder("risk", CONFIG, lambda: 5_000_000)(resumed)
    assert (made.ts.timestamp(), made.key()) == (5.0, "risk")
    again = msgspec.structs.replace(made)
    known = ResumePoint(2, {}, {}, Counts(), 9, 5, 4, configured=encode_output(again))
    assert ConfigurationRecorder("risk", CONFIG)(known) == []
    known.configured = encode_output(msgspec.structs.replace(made, engine="0.0.1"))
    (other,) = ConfigurationRecorder("risk", CONFIG)(known)
    assert (other.changes, other.journal, other.ts.timestamp()) == ([], 4, 9e-6)


def test_changes_are_told_by_name_and_not_without_end() -> None:
    """Items by their ids, and the rest as a number."""
    old = {"rules": [{"id": "a", "at": 1}, {"id": "b", "at": 2}]}
    new = {"rules": [{"id": "b", "at": 3}]}
    assert (
        config_changes(old, new)
        == [
            'rules.a: {"at":1,"id":"a"} -> absent',
            "rules.b.at: 2 -> 3",
        ]
        or config_changes(old, new)[1] == "rules.b.at: 2 -> 3"
    )
    many = config_changes({}, {str(n): n for n in range(500)})
    assert len(many) == 201
    assert many[-1] == "and 300 more"


def test_an_incident_is_told_as_it_was(url: str) -> None:
    """Holdings and scores of each moment, alerts, times, and the page that shows them."""
    with open_database(url) as engine, engine.connect() as conn:
        rows = list(audit_rows(conn, WORKER))
        span = (rows[1].us, rows[-1].us)
        told = reconstruct_incident(conn, WORKER, rows[1:], span, journal=True)
        bare = reconstruct_incident(conn, WORKER, rows[1:], span, journal=False)
        conn.execute(delete(RISK_JOURNAL))
        gone = reconstruct_incident(conn, WORKER, rows[1:], span, journal=True)
    assert [s.rederived for s in told.scenes] == [True] * len(told.scenes)
    last = [s for s in told.scenes if s.decision["scope"] == "asset:USDC"][-1]
    assert last.exposures
    assert last.scores
    assert {e["asset"] for e in last.exposures} == {"USDC"}
    assert last.last_input_s is not None
    assert 0.0 <= last.last_input_s <= 60.0
    assert any(a["type"] == "AlertRaised" for a in told.alerts)
    assert told.configuration is not None
    assert [s.exposures for s in bare.scenes] == [None] * len(told.scenes)
    assert "there is no journal" in gone.without_journal
    manifest = BundleManifest(
        v=1, worker=WORKER, begin="", end="", first=2, last=len(rows), before="b" * 64,
        after="a" * 64, engine="0", made="", key="", files={},
    )  # fmt: skip
    html = render_page(told, manifest, span).decode()
    for wanted in ("asset:USDC", "HALT", "byte for byte", "b" * 64, "<svg", "expected loss"):
        assert wanted in html
    assert "http" not in html.replace("http-equiv", "")
    assert "was not replayed" in render_page(bare, manifest, span).decode()


def test_holdings_of_an_incident_are_valued_at_the_decisions_own_tick(url: str) -> None:
    """They sum to the exposure that the decision states, to the cent of each holding."""
    with open_database(url) as engine, engine.connect() as conn:
        rows = list(audit_rows(conn, WORKER))
        told = reconstruct_incident(conn, WORKER, rows, (0, rows[-1].us), journal=True)
    scenes = [s for s in told.scenes if s.decision["scope"].startswith("asset:") and s.exposures]
    assert len(scenes) > 1
    for scene in scenes:
        assert scene.exposures is not None
        values = [abs(float(e["value_usd"])) for e in scene.exposures]
        assert sum(values) == pytest.approx(
            float(scene.decision["exposure_usd"]), abs=0.01 * (len(values) + 1)
        )


def test_a_time_without_a_decision_has_its_alerts_all_the_same(url: str) -> None:
    """The journal is replayed for them though the chain has no row of that time."""
    with open_database(url) as engine, engine.connect() as conn:
        rows = list(audit_rows(conn, WORKER))
        told = reconstruct_incident(conn, WORKER, [], (0, rows[-1].us), journal=True)
    assert told.scenes == []
    assert told.alerts
    assert told.without_journal == ""


def test_what_somebody_wrote_is_text_on_the_page(url: str) -> None:
    """No reason, name or note becomes markup."""
    with open_database(url) as engine, engine.connect() as conn:
        rows = list(audit_rows(conn, WORKER))
        told = reconstruct_incident(conn, WORKER, rows, (0, rows[-1].us), journal=False)
    told.scenes[0].decision["reasons"] = ["<script>alert(1)</script>"]
    told.people = [
        {"ts": "2023-03-11T03:00:00Z", "who": "<b>eve</b>", "kind": "CommandApplied", "row": 1}
    ]
    manifest = BundleManifest(
        v=1, worker=WORKER, begin="", end="", first=1, last=1, before="", after="", engine="",
        made="", key="", files={},
    )  # fmt: skip
    html = render_page(told, manifest, (0, rows[-1].us)).decode()
    assert "<script>" not in html
    assert "&lt;b&gt;eve&lt;/b&gt;" in html


def test_a_journal_without_a_beginning_has_a_name(url: str) -> None:
    """So that callers can tell it from a database that does not answer."""
    with open_database(url) as engine, engine.connect() as conn:
        with pytest.raises(JournalGoneError):
            list(Rederivation(conn, "nobody").outputs())
        replayed = Rederivation(conn, WORKER)
        assert replayed.last_input_us("asset:USDC") is None
        outputs = list(replayed.outputs())
        assert replayed.read == conn.execute(text("SELECT count(*) FROM risk_journal")).scalar()
        assert replayed.last_input_us("asset:USDC") is not None
        heard = replayed.last_input_us("firm")
        assert heard is not None
        assert heard >= (replayed.last_input_us("asset:USDC") or 0)
    assert any(isinstance(o, DecisionMade) for o in outputs)
