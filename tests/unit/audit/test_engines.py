"""Journals that several engines applied in turn: how each decision is verified."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from sqlalchemy import select, text, update
from typer.testing import CliRunner

from riskwatch.audit.incident import reconstruct_incident, render_page
from riskwatch.audit.verify import DIFFERS, INPUTS_ONLY, SAME, UNKNOWN, VerificationResult, verify
from riskwatch.cli import app
from riskwatch.contracts.audit import seal
from riskwatch.contracts.outputs import decode_output, encode_output
from riskwatch.core.enums import State
from riskwatch.core.outputs import DecisionMade
from riskwatch.errors import StoreError
from riskwatch.store.audit import AUDIT_CHAIN, audit_rows, stretches
from riskwatch.store.audit_check import check_database
from riskwatch.store.bundle import BundleManifest
from riskwatch.store.checkpoints import check_checkpoints, checkpoints, usable_checkpoints
from riskwatch.store.engine import open_engine
from riskwatch.store.projections import DECISION_LOG
from riskwatch.store.queries import open_reader
from riskwatch.version import ENGINE
from tests.support.engines import OLDER, run_older
from tests.support.events import write_mixed
from tests.support.rederiving import CONFIG, WORKER, kept, replay

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy.engine import Connection

    from riskwatch.contracts.audit import AuditLink

NEWER = "99.0.0"
A = AUDIT_CHAIN.c


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """An hour that two engines applied in turn.

    ``bare``: the older one and then this one. ``kept``: the same, and the older one kept a
    checkpoint when it ended. ``newer``: this one and then a newer one.
    """
    folder = tmp_path_factory.mktemp("engines")
    events = folder / "mixed.ndjson"
    write_mixed(events, hours=1.0)
    found = {name: folder / f"{name}.db" for name in ("bare", "kept", "newer")}
    run_older(events, found["bare"], 450, copy=found["kept"])
    for name in ("bare", "kept"):
        replay(events, f"sqlite:///{found[name]}", CONFIG, None, keep=False)
    replay(events, f"sqlite:///{found['newer']}", CONFIG, 450, keep=False)
    run_older(events, found["newer"], 10_000, engine=NEWER)
    return found


@pytest.fixture
def url(request: pytest.FixtureRequest, originals: dict[str, Path], tmp_path: Path) -> str:
    """A copy of one of them."""
    return f"sqlite:///{shutil.copy(originals[request.param], tmp_path / 'copy.db')}"


def of(name: str) -> pytest.MarkDecorator:
    """Take a copy of this one."""
    return pytest.mark.parametrize("url", [name], indirect=True)


def decided(conn: Connection) -> list[AuditLink]:
    """Rows of the chain that are decisions, in order."""
    return [link for link in audit_rows(conn, WORKER) if link.kind == DecisionMade.__name__]


def judged(url: str, *, whole: bool = False) -> list[tuple[str, VerificationResult]]:
    """Each decision's engine, and what came of it: asked one by one, which is as asked at once."""
    with open_reader(url) as conn:
        found = decided(conn)
        one_by_one = [verify(conn, [link.id], whole=whole)[0] for link in found]
        at_once = verify(conn, [link.id for link in found], whole=whole)
    assert [v.status for v in one_by_one] == [v.status for v in at_once]
    return [(link.engine, v) for link, v in zip(found, one_by_one, strict=True)]


def change(url: str, *statements: Any) -> None:
    """Do something to the database, as who owns it can."""
    engine = open_engine(url)
    with engine.begin() as conn:
        for trigger in ("audit_chain_update", "audit_chain_delete"):
            conn.execute(text(f"DROP TRIGGER IF EXISTS {trigger}"))
        for statement in statements:
            conn.execute(statement)
    engine.dispose()


@of("bare")
@pytest.mark.parametrize("whole", [False, True])
def test_without_a_checkpoint_in_between_the_policy_judges_all(url: str, *, whole: bool) -> None:
    """The older engine's rules weighed more: its decision is not wrong, it is not known."""
    found = judged(url, whole=whole)
    assert {engine for engine, _ in found} == {OLDER, ENGINE}
    for engine, verdict in found:
        said = " ".join(verdict.said)
        if engine == ENGINE:
            assert verdict.status == INPUTS_ONLY
            assert f"engine {OLDER} applied the journal up to entry" in said
            assert "no checkpoint at that entry" in said
        else:
            assert verdict.status in {INPUTS_ONLY, UNKNOWN}
            assert f"engine {OLDER} decided, this is {ENGINE}" in said
    (doubted,) = [v for engine, v in found if engine == OLDER and v.status == UNKNOWN]
    assert "severities are" in doubted.said[1]
    assert f"only engine {OLDER} can say whether the decision is right" in doubted.said[-1]


@of("kept")
@pytest.mark.parametrize("whole", [False, True])
def test_from_the_checkpoint_in_between_this_engine_derives(url: str, *, whole: bool) -> None:
    """What it decided itself, byte for byte; what the older one decided it still does not judge."""
    found = judged(url, whole=whole)
    own = [v for engine, v in found if engine == ENGINE]
    assert own
    assert {v.status for v in own} == {SAME}
    assert all("after the checkpoint at entry" in v.said[0] for v in own)
    assert UNKNOWN in {v.status for engine, v in found if engine == OLDER}
    assert DIFFERS not in {v.status for _, v in found}


@of("newer")
def test_what_a_newer_engine_went_on_with_hides_nothing_before(url: str) -> None:
    """What this engine decided is derived from the first entry; it judges nothing else."""
    found = judged(url)
    assert {engine for engine, _ in found} == {ENGINE, NEWER}
    assert {v.status for engine, v in found if engine == ENGINE} == {SAME}
    assert DIFFERS not in {v.status for _, v in found}


@of("kept")
def test_a_wrong_decision_of_this_engine_still_differs(url: str) -> None:
    """A decision that the journal does not give, sealed into the chain, is called wrong."""
    plant(url, engine=ENGINE, id="f" * 32)
    found = judged(url)[-1][1]
    assert found.status == DIFFERS
    assert "does not bring it about" in found.said[0]


@of("kept")
@pytest.mark.parametrize(
    "altered", [{"state": State.WATCH}, {"previous": State.HALT}, {"rule": "asset.gone"}, {}]
)
def test_whatever_another_engine_decided_is_not_called_wrong(
    url: str, altered: dict[str, Any]
) -> None:
    """Even what no policy of this build could ask for: the verdict says what it cannot say."""
    plant(url, engine="0.0.1", id="e" * 32, **altered)
    verdict = judged(url)[-1][1]
    assert verdict.status == (UNKNOWN if altered else INPUTS_ONLY)
    assert "not derived from the journal: engine 0.0.1 decided" in verdict.said[0]
    done = CliRunner().invoke(app, ["verify", "e" * 32, "--database", url])
    assert done.exit_code == 3, done.output
    assert "DIFFERS" not in done.stdout


@of("kept")
def test_a_change_of_what_another_engine_decided_is_found(url: str) -> None:
    """The chain and the table tell, whoever decided."""
    change(url, update(DECISION_LOG).where(DECISION_LOG.c.engine == OLDER).values(rule="mine"))
    assert {v.status for engine, v in judged(url) if engine == OLDER} == {DIFFERS}
    change(url, update(AUDIT_CHAIN).where(A.engine == OLDER).values(us=A.us + 1))
    found = [v for engine, v in judged(url) if engine == OLDER]
    assert all("of the audit chain was changed" in v.said[0] for v in found)


@of("bare")
def test_a_report_without_a_start_derives_nothing(url: str) -> None:
    """And says so."""
    with open_reader(url) as conn:
        rows = list(audit_rows(conn, WORKER))
        told = reconstruct_incident(conn, WORKER, rows, (rows[0].us, rows[-1].us), journal=True)
    assert {scene.rederived for scene in told.scenes} == {None}
    assert told.without_journal


@of("kept")
@pytest.mark.parametrize(("engine", "status"), [(NEWER, UNKNOWN), (ENGINE, DIFFERS)])
def test_what_this_build_cannot_read_is_wrong_only_of_its_own_engine(
    url: str, engine: str, status: str
) -> None:
    """A newer engine may decide in words that this one does not know."""
    plant(url, engine=engine, id="d" * 32)
    with open_reader(url) as conn:
        row = decided(conn)[-1]
    link = seal(
        msgspec.structs.replace(row, payload=row.payload.replace('"state":"', '"state":"VERY_'))
    )
    values = {"payload": link.payload, "digest": link.digest}
    change(url, update(AUDIT_CHAIN).where(A.seq == row.seq).values(values))
    with open_reader(url) as conn:
        (verdict,) = verify(conn, [row.id])
    assert verdict.status == status, verdict


@of("kept")
def test_the_commands_end_with_code_3(url: str) -> None:
    """Of all decisions at once as well: something is not derived, and nothing is wrong."""
    for args in (["--all"], ["--all", "--whole"]):
        done = CliRunner().invoke(app, ["verify", *args, "--database", url])
        assert done.exit_code == 3, done.output
        assert "DIFFERS" not in done.stdout
        assert "verified" in done.stdout
    done = CliRunner().invoke(app, ["audit", "verify", "--database", url])
    assert done.exit_code == 0, done.output


@of("bare")
def test_no_checkpoint_is_kept_of_what_another_engine_applied(url: str) -> None:
    """Neither by this engine after an older one, nor by an older one after this."""
    with pytest.raises(StoreError, match=f"engine {OLDER} applied the journal up to entry"):
        kept(url, end=True)
    with open_reader(url) as conn:
        assert checkpoints(conn, WORKER) == []
        (older, own) = stretches(conn, WORKER)
    assert (older.engine, own.engine, older.last + 1) == (OLDER, ENGINE, own.first)


@of("newer")
def test_no_checkpoint_is_kept_where_a_newer_engine_works(url: str) -> None:
    """It is the newer engine's turn."""
    with pytest.raises(StoreError, match=f"engine {NEWER} applied the journal there"):
        kept(url, end=True)


@of("kept")
def test_checkpoints_go_on_behind_the_one_of_the_older_engine(url: str) -> None:
    """And its rows stay, however many come after it: there is no other way to begin."""
    with open_reader(url) as conn:
        (handed_over,) = usable_checkpoints(conn, WORKER)
    assert handed_over.engine == OLDER
    (made,) = kept(url, end=True, keep=1)
    assert (made.engine, made.previous) == (ENGINE, handed_over.digest)
    assert kept(url, end=True) == []
    with open_reader(url) as conn:
        assert usable_checkpoints(conn, WORKER) == [handed_over, made]
        assert list(check_checkpoints(conn, WORKER)) == []
    assert {v.status for engine, v in judged(url) if engine == ENGINE} == {SAME}


@pytest.mark.parametrize("url", ["kept", "newer"], indirect=True)
def test_a_report_does_not_call_another_engines_decision_wrong(url: str) -> None:
    """What this engine applied is derived from where it began; of the rest it says so."""
    with open_reader(url) as conn:
        rows = list(audit_rows(conn, WORKER))
        told = reconstruct_incident(conn, WORKER, rows, (rows[0].us, rows[-1].us), journal=True)
        assert check_database(conn, WORKER)[1] == []
    assert {scene.rederived for scene in told.scenes} == {True, None}
    for scene in told.scenes:
        own = scene.decision["engine"] == ENGINE
        assert (scene.rederived, scene.exposures is None) == (True if own else None, not own)
    assert "not everything here was decided by this engine" in told.without_journal
    manifest = BundleManifest(
        v=1, worker=WORKER, begin="", end="", first=1, last=len(rows), before="", after="",
        engine=ENGINE, made="", key="", files={},
    )  # fmt: skip
    html = render_page(told, manifest, (rows[0].us, rows[-1].us)).decode()
    assert "the journal does not give this decision" not in html


def plant(url: str, **altered: Any) -> None:
    """Seal a decision into the chain and its table: the last one on a coin, altered."""
    engine = open_engine(url)
    with engine.begin() as conn:
        last = list(audit_rows(conn, WORKER))[-1]
        row = [link for link in decided(conn) if '"scope":"asset:' in link.payload][-1]
        decision = msgspec.structs.replace(decode_output(row.payload.encode()), **altered)
        payload = encode_output(decision).decode()
        link = msgspec.structs.replace(
            row, id=decision.id, engine=decision.engine, payload=payload, seq=last.seq + 1,
            place=last.place + 1, previous=last.digest,
        )  # fmt: skip
        conn.execute(AUDIT_CHAIN.insert(), msgspec.structs.asdict(seal(link)))
        table = DECISION_LOG
        stored = conn.execute(select(table).where(table.c.id == row.id)).mappings().one()
        values = {k: getattr(v, "value", v) for k, v in altered.items()}
        conn.execute(table.insert(), {**stored, **values})
    engine.dispose()
