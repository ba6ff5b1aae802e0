"""Evidence bundles: an empty quarter, a losing day, and what a change of them does."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from riskwatch.audit.evidence import MISSING, ChainRegisters
from riskwatch.contracts.audit import AuditLink
from riskwatch.contracts.outputs import encode_output
from riskwatch.contracts.signing import public_key_text
from riskwatch.core.clock import micros
from riskwatch.core.events import Fill
from riskwatch.core.outputs import ControlChanged
from riskwatch.store.audit import AUDITED
from riskwatch.store.bundle import CHAIN, MANIFEST, SIGNATURE, check_bundle
from tests.support.people import KEYS
from tests.support.postgres import postgres_server, postgres_url
from tests.support.stored import LIMIT, SCOPE, Desk, at, balance, history, quote

if TYPE_CHECKING:
    from pathlib import Path

    from riskwatch.core.outputs import Output

__all__ = ["postgres_server", "postgres_url"]
QUARTER = ("--from", "2024-01-01T00:00:00Z", "--to", "2024-03-31T00:00:00Z")
DAY = ("--from", "2024-05-06T09:00:00Z", "--to", "2024-05-06T10:00:00Z")
KRAKEN = "counterparty:kraken"


def export(desk: Desk, name: str, *span: str) -> Path:
    """Write an evidence bundle, and check it."""
    out = desk.folder / name
    desk.run("audit", "evidence", *span, "--out", str(out), "--key", str(desk.folder / "key"))
    desk.run("audit", "check", str(out), "--key", str(desk.folder / "key.pub"))
    return out


def rows(folder: Path, name: str) -> list[dict[str, Any]]:
    """Return the rows of one register."""
    return [json.loads(line) for line in (folder / f"{name}.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    """A losing day: USDC falls, a limit is broken, people halt, drill and release."""
    made = Desk(tmp_path_factory.mktemp("losing"))
    pem = KEYS["rita"].private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (made.folder / "rita.pem").write_bytes(pem)
    (made.folder / "rita.pem").chmod(0o600)
    public = public_key_text(KEYS["rita"].public_key())
    role = ("--role", "supervisor", "--public-key", public, "--function", "risk")
    made.run("operator", "add", "rita", *role)
    made.run("db", "upgrade")
    made.run("audit", "keygen", str(made.folder / "key"))
    made.replay(history())
    limit = ("set-limit", LIMIT, "--scope", KRAKEN, "--hard-usd")
    made.turn(25, *limit, "40000")
    made.turn(26, "halt", SCOPE)
    made.turn(26.5, "acknowledge", SCOPE, name="rita")
    made.replay(after_the_halt())
    made.turn(29, "drill", "--scope", SCOPE)
    made.turn(30, *limit, "90000")
    made.turn(31, "approve", KRAKEN, "--yes", name="rita")
    made.turn(32, "release", SCOPE, "--yes")
    made.turn(32.5, "approve", SCOPE, "--yes")
    made.turn(33, "approve", SCOPE, "--yes", name="rita")
    made.replay(
        quote("kraken", "USDC", Decimal("0.9999"), common(f"late{minute}", minute))
        for minute in range(34, 56)
    )
    return made


def common(name: str, minutes: float) -> dict[str, Any]:
    """Fields that all events have."""
    return {"v": 1, "event_id": name, "ts": at(minutes), "source": "desk"}


def after_the_halt() -> list[Any]:
    """A purchase in spite of the HALT, and quotes that bring the next ticks."""
    bought = Fill(
        **common("bought", 27), counterparty="kraken", account="main", book="mm", base="USDC",
        quote="USD", side="buy", qty=Decimal(5_000), price=Decimal(1), reference_price=Decimal(1),
    )  # fmt: skip
    quotes = [quote("kraken", "USDC", Decimal(1), common(f"q{n}", n)) for n in (27.5, 28)]
    return [bought, balance("50000", 28.2, "coinbase"), *quotes]


@pytest.fixture(scope="module")
def losing(desk: Desk) -> Path:
    """The bundle of the losing day."""
    return export(desk, "losing", *DAY)


def test_an_empty_quarter_is_a_bundle(desk: Desk) -> None:
    """Without a row of the chain, each register is there, and the bundle is as it was signed."""
    out = export(desk, "empty", *QUARTER)
    assert (out / CHAIN).read_bytes() == b""
    for name in ("kills", "switch_breaches", "limit_breaches", "commands", "incidents", "drills"):
        assert rows(out, name) == []
    (period,) = rows(out, "period")
    assert (period["rows"], period["first"], period["last"]) == (0, 0, 0)
    # A replay records its configuration before its first event, so the quarter has one.
    (begin,), (end,) = rows(out, "configuration_begin"), rows(out, "configuration_end")
    assert begin["digest"] == end["digest"]
    assert rows(out, "rules")
    assert all(row["last_firing"] is None for row in rows(out, "rules"))


def test_what_is_not_held_is_said(losing: Path) -> None:
    """What riskwatch does not hold is a register, and stands on the page; nothing is promised."""
    assert rows(losing, "missing") == [dict(row) for row in MISSING]
    page = (losing / "evidence.html").read_text()
    assert "three-way reconciliation" in page
    assert "not held here" in page
    everything = b"".join(path.read_bytes() for path in losing.iterdir())
    assert b"compliant" not in everything.lower()


def test_breaches_have_a_time_to_cure(losing: Path) -> None:
    """The breach of the limit began after it was lowered, and ended after it was raised."""
    (breach,) = (row for row in rows(losing, "limit_breaches") if row["scope"] == KRAKEN)
    assert breach["rules"] == ["counterparty.limit.reduce"]
    assert breach["worst"] == "REDUCE"
    chain = {row["seq"]: row for row in rows(losing, CHAIN.removesuffix(".jsonl"))}
    began, ended = (chain[breach[name]] for name in ("began_row", "ended_row"))
    assert breach["time_to_cure_s"] == (ended["us"] - began["us"]) / 1e6 > 0
    assert json.loads(ended["payload"])["state"] == "NORMAL"
    switch = next(row for row in rows(losing, "switch_breaches") if row["scope"] == SCOPE)
    assert (switch["worst"], switch["began_before"]) == ("HALT", False)


def test_kills_and_releases_name_people(losing: Path) -> None:
    """A release has both people with role and function, and the reason."""
    halt, release = rows(losing, "kills")
    assert [each["who"] for each in halt["people"]] == ["ann"]
    found = [(p["who"], p["action"], p["role"], p["function"]) for p in release["people"]]
    assert found == [
        ("ann", "release", "supervisor", ""), ("rita", "approve", "supervisor", "risk"),
    ]  # fmt: skip
    assert {p["reason"] for p in release["people"]} == {"an exercise"}
    (refused,) = rows(losing, "refused_commands")
    assert (refused["action"], refused["refusal"]) == ("approve", "SAME_PERSON")


def test_changes_of_limits_name_who_signed(losing: Path) -> None:
    """A lowering has one person; a raise has two, and its end."""
    lowered, raised = (r for r in rows(losing, "limit_changes") if r["by"] == "command")
    assert (lowered["raise_ends"], raised["raise_ends"]) == (None, "2024-05-13T09:31:00Z")
    assert [len(each["signed_by"]) for each in (lowered, raised)] == [1, 2]
    assert "40,000.00 USD" in lowered["changes"][0]


def test_a_drill_without_a_result_says_so(losing: Path) -> None:
    """The signal of the drill is there; a replay has no client that could answer."""
    (drill,) = rows(losing, "drills")
    assert (drill["scope"], drill["who"]) == (SCOPE, "ann")
    assert (drill["outcome"], drill["result"]) == ("no result is stored", None)
    rule = next(r for r in rows(losing, "rules") if r["rule"] == "asset.discount.halt")
    assert rule["last_drill_of_this_kind"]["id"] == drill["id"]


def test_incidents_have_timers(losing: Path) -> None:
    """The purchase after the HALT is a finding; the alert of the fall was acknowledged."""
    (finding,) = rows(losing, "halt_not_effective")
    assert finding["title"].startswith("HALT_NOT_EFFECTIVE: asset:USDC")
    fall = next(r for r in rows(losing, "incidents") if r["alert"] == SCOPE)
    assert fall["acknowledged_by"]["who"] == "rita"
    assert fall["to_acknowledge_s"] > 0
    assert fall["open_at_end"] is (fall["to_resolve_s"] is None)


def test_inventories(losing: Path, desk: Desk) -> None:
    """Models have ceilings, parties kinds, tables spans; twice gives the same bytes."""
    models = {row["generation"]: row for row in rows(losing, "models")}
    assert models["anchored"]["ceiling"] == "bounded"
    parties = {row["party"]: row["kind"] for row in rows(losing, "third_parties")}
    assert (parties["kraken"], parties["anchorage"]) == ("exchange", "custodian")
    spans = {row["record"]: row for row in rows(losing, "retention")}
    assert spans["risk_journal"]["rows"] > 0
    assert spans["audit_chain"]["last"] >= spans["audit_chain"]["first"]
    assert len(rows(losing, "deployment")) == 1
    rule = next(r for r in rows(losing, "rules") if r["rule"] == "counterparty.limit.reduce")
    assert rule["last_firing"]["scope"] == KRAKEN
    again = export(desk, "again", *DAY)
    for path in losing.glob("*.jsonl"):
        assert path.read_bytes() == (again / path.name).read_bytes()


@pytest.mark.parametrize("name", ["kills.jsonl", "missing.jsonl", "evidence.html", CHAIN])
def test_a_change_is_found(desk: Desk, losing: Path, tmp_path: Path, name: str) -> None:
    """A register that was changed or taken out, or added, fails the check."""
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in losing.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    assert list(check_bundle(copy)) == []
    data = (copy / name).read_bytes()
    (copy / name).write_bytes(data.replace(b"ann", b"bob") if b"ann" in data else data + b" ")
    done = desk.run("audit", "check", str(copy), fails=True)
    assert (done.exit_code, f"{name}: was changed" in done.stdout) == (1, True)
    (copy / name).unlink()
    (copy / "extra.jsonl").write_bytes(b"")
    said = list(check_bundle(copy))
    assert any(line.startswith(f"{name}: ") for line in said)
    assert "extra.jsonl: is not in the manifest" in said
    assert {MANIFEST, SIGNATURE} <= {path.name for path in copy.iterdir()}


def link(seq: int, output: Output) -> AuditLink:
    """A row of a chain."""
    return AuditLink(
        worker="risk", seq=seq, place=seq, kind=type(output).__name__, id=output.id,
        key=output.key(), us=micros(output.ts), engine="0", payload=encode_output(output).decode(),
        previous="", digest=f"d{seq}",
    )  # fmt: skip


def control(minutes: float, by: str | None, **fields: Any) -> ControlChanged:
    """Controls of the scope, with an override or without."""
    override: dict[str, Any] = {
        "override_state": "WATCH", "override_by": by, "override_approved_by": "rita",
        "override_until": at(60),
    }  # fmt: skip
    given = fields if by is None else fields | override
    return ControlChanged(id=f"c{minutes}", cause_id="c", ts=at(minutes), scope=SCOPE, **given)


def test_overrides_begin_and_end() -> None:
    """An override ends when it is gone or another one comes; one of before the period counts."""
    chain = ChainRegisters(first=3)
    chain.add(link(1, control(1, "ann")))
    chain.add(link(2, control(2, "ann", silence_by="ann", silence_until=at(9))))
    chain.add(link(3, control(3, "bob")))
    chain.add(link(4, control(5, None)))
    chain.finish()
    old, new = chain.overrides
    assert (old["asked_by"]["who"], old["time_to_cure_s"], old["began_before"]) == (
        "ann",
        120,
        True,
    )
    assert (new["asked_by"]["who"], new["time_to_cure_s"], new["began_before"]) == (
        "bob",
        120,
        False,
    )
    assert chain.last_before == {"row": 2, "digest": "d2"}
    late = ChainRegisters(first=9)
    late.add(link(1, control(1, "ann")))
    late.add(link(2, control(2, None)))
    late.finish()
    assert late.overrides == []


def test_every_audited_kind_is_read() -> None:
    """A kind that the chain gets one day is not left out of the registers in silence."""
    chain = ChainRegisters(first=1)
    assert set(chain._handlers) == {kind.__name__ for kind in AUDITED}


def test_postgres_gives_the_same_kinds_of_rows(postgres_url: str, tmp_path: Path) -> None:
    """Every register can be read from Postgres, and times are text with a zone."""
    made = Desk(tmp_path)
    made.url = postgres_url
    made.run("db", "upgrade")
    made.run("audit", "keygen", str(tmp_path / "key"))
    made.replay(history())
    made.turn(26, "halt", SCOPE)
    out = export(made, "postgres", *DAY)
    assert [row["what"] for row in rows(out, "kills")] == ["halt"]
    spans = {row["record"]: row for row in rows(out, "retention")}
    assert spans["alert"]["first"].endswith("Z")
    assert spans["risk_journal"]["last"].endswith("Z")
    assert rows(out, "incidents")[0]["opened_ts"].endswith("Z")
