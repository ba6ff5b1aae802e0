"""Checkpoints: a replay from one gives the result of the whole journal; others are refused."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from sqlalchemy import delete, select, text, update
from typer.testing import CliRunner

from riskwatch.audit.rederivation import Rederivation
from riskwatch.audit.verify import DIFFERS, INPUTS_ONLY, SAME, VerificationResult, verify
from riskwatch.cli import app
from riskwatch.contracts.outputs import encode_output
from riskwatch.core.outputs import DecisionMade
from riskwatch.errors import StoreError
from riskwatch.store.audit import AUDIT_CHAIN
from riskwatch.store.checkpoints import (
    CHECKPOINT,
    CHECKPOINT_ROW,
    check_checkpoints,
    checkpoint_rows,
    checkpoints,
    content_of,
    digest_of,
    usable_checkpoints,
)
from riskwatch.store.engine import open_engine
from riskwatch.store.queries import open_reader
from riskwatch.store.truth import RISK_JOURNAL
from tests.support.rederiving import NIGHTS, WORKER, kept, write_nights

if TYPE_CHECKING:
    from pathlib import Path

C, R, J, A = CHECKPOINT.c, CHECKPOINT_ROW.c, RISK_JOURNAL.c, AUDIT_CHAIN.c


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """One database without and one with checkpoints."""
    path = write_nights(tmp_path_factory.mktemp("nights"), keep=False)
    other = path.with_name("kept.db")
    shutil.copy(path, other)
    assert len(kept(f"sqlite:///{other}")) == NIGHTS
    return path, other


@pytest.fixture
def bare(originals: tuple[Path, Path], tmp_path: Path) -> str:
    """A copy without checkpoints."""
    return f"sqlite:///{shutil.copy(originals[0], tmp_path / 'bare.db')}"


@pytest.fixture
def url(originals: tuple[Path, Path], tmp_path: Path) -> str:
    """A copy with checkpoints."""
    return f"sqlite:///{shutil.copy(originals[1], tmp_path / 'kept.db')}"


def change(url: str, *statements: Any) -> None:
    """Do something to the database, as who owns it can."""
    engine = open_engine(url)
    with engine.begin() as conn:
        for trigger in ("audit_chain_update", "audit_chain_delete"):
            conn.execute(text(f"DROP TRIGGER IF EXISTS {trigger}"))
        for statement in statements:
            conn.execute(statement)
    engine.dispose()


def decisions(url: str) -> list[str]:
    """Ids of all decisions, in order."""
    query = select(A.id).where(A.kind == DecisionMade.__name__).order_by(A.seq)
    with open_reader(url) as conn:
        return list(conn.execute(query).scalars())


def verified(url: str, *, whole: bool = False) -> list[VerificationResult]:
    """Verify every decision by itself, each from where it can be derived soonest."""
    with open_reader(url) as conn:
        return [verify(conn, [each], whole=whole)[0] for each in decisions(url)]


def test_a_decision_is_the_same_from_a_checkpoint_and_without(url: str) -> None:
    """Byte for byte, in fewer entries, though the configuration changed on the way."""
    by, without = verified(url), verified(url, whole=True)
    assert len(by) >= 3
    assert {v.status for v in (*by, *without)} == {SAME}
    assert "after the checkpoint at entry" in by[-1].said[0]
    assert not any("checkpoint" in v.said[0] for v in (by[0], *without))


def test_a_journal_with_every_event_has_checkpoints_too(tmp_path: Path) -> None:
    """With the rows of the ledger, which then runs as well."""
    url = f"sqlite:///{write_nights(tmp_path, keep=True)}"
    assert all(found.events for found in kept(url))
    assert {v.status for v in verified(url)} == {SAME}
    assert "after the checkpoint at entry" in verified(url)[-1].said[0]


def test_everything_is_the_same_from_a_checkpoint(url: str) -> None:
    """Not only decisions: every output after it, and the rows of all stages at the end."""
    with open_reader(url) as conn:
        full = Rederivation(conn, WORKER)
        whole = [encode_output(o) for o in full.outputs()]
        for found in usable_checkpoints(conn, WORKER):
            part = Rederivation(conn, WORKER, found)
            after = [encode_output(o) for o in part.outputs()]
            assert after == whole[-len(after) :]
            assert 0 < part.read == full.read - found.journal
            assert part.rows() == full.rows()


def test_checkpoints_are_one_for_each_day_and_go_on(bare: str) -> None:
    """At the same places whenever they are kept; a second time there is nothing to do."""
    with open_reader(bare) as conn:
        last = conn.execute(select(J.seq).order_by(J.seq.desc()).limit(1)).scalar_one()
    tail = select(J.seq).where(J.seq > last // 2)
    with open_reader(bare) as conn:
        later = conn.execute(select(RISK_JOURNAL).where(J.seq.in_(tail))).mappings().all()
    change(bare, delete(RISK_JOURNAL).where(J.seq > last // 2))
    first = kept(bare)
    engine = open_engine(bare)
    with engine.begin() as conn:
        conn.execute(RISK_JOURNAL.insert(), [dict(row) for row in later])
    engine.dispose()
    second = kept(bare)
    assert first
    assert second
    change(bare, delete(CHECKPOINT), delete(CHECKPOINT_ROW))
    assert kept(bare) == [*first, *second]
    assert kept(bare) == []
    days = [found.us // 86_400_000_000 for found in (*first, *second)]
    assert days == sorted(set(days))


def test_rows_of_the_oldest_are_forgotten(bare: str) -> None:
    """Their digests stay, so that the next ones have what they continue."""
    made = kept(bare, keep=1)
    with open_reader(bare) as conn:
        assert checkpoints(conn, WORKER) == made
        assert usable_checkpoints(conn, WORKER) == made[-1:]
        assert list(check_checkpoints(conn, WORKER)) == []
    assert {v.status for v in verified(bare)} == {SAME}


@pytest.mark.parametrize(
    "tampering",
    [
        update(CHECKPOINT_ROW).values(body=b"{}"),
        update(CHECKPOINT_ROW).where(R.stage == "risk").values(stage="market2"),
        delete(CHECKPOINT_ROW).where(R.stage == "market"),
        update(CHECKPOINT).values(us=C.us + 1),
        update(CHECKPOINT).values(audit_seq=C.audit_seq + 1),
        update(CHECKPOINT).values(content="0" * 64),
    ],
    ids=["body", "stage", "row", "time", "place", "digest"],
)
def test_a_checkpoint_that_was_changed_is_found(url: str, tampering: Any) -> None:
    """By whoever would go on from it, by the check of the record; and one can do without."""
    change(url, tampering)
    found = verified(url)[-1]
    assert found.status == DIFFERS
    assert "was changed" in found.said[0]
    with open_reader(url) as conn:
        assert len(list(check_checkpoints(conn, WORKER))) >= NIGHTS
    with pytest.raises(StoreError, match="was changed"):
        kept(url)
    assert {v.status for v in verified(url, whole=True)} == {SAME}


def test_a_checkpoint_that_was_put_in_or_taken_out_is_found(url: str) -> None:
    """Each continues the one before it, and stands behind a row of the audit chain."""
    with open_reader(url) as conn:
        first = checkpoints(conn, WORKER)[0]
    change(url, delete(CHECKPOINT).where(C.journal == first.journal))
    with open_reader(url) as conn:
        found = list(check_checkpoints(conn, WORKER))
    assert any("does not continue the one before it" in line for line in found)
    assert any("has rows, and no digest" in line for line in found)


def test_rows_that_were_forged_with_good_digests_give_themselves_away(url: str) -> None:
    """Whoever writes a checkpoint anew, digests and all, cannot make the journal agree."""
    with open_reader(url) as conn:
        last = usable_checkpoints(conn, WORKER)[-1]
        before = [
            found for found in usable_checkpoints(conn, WORKER) if found.audit_seq < last.audit_seq
        ][-1]
        rows = checkpoint_rows(conn, before)
    rows["risk"].pop("scope/asset:USDC")
    forged = msgspec.structs.replace(before, content=content_of(rows))
    forged = msgspec.structs.replace(forged, digest=digest_of(forged))
    change(
        url,
        delete(CHECKPOINT_ROW).where(R.journal == before.journal, R.key == "scope/asset:USDC"),
        update(CHECKPOINT)
        .where(C.journal == before.journal)
        .values(content=forged.content, digest=forged.digest),
    )
    with open_reader(url) as conn:
        assert any("does not continue" in line for line in check_checkpoints(conn, WORKER))
    assert DIFFERS in {v.status for v in verified(url)}
    assert {v.status for v in verified(url, whole=True)} == {SAME}


def test_what_is_left_of_an_archived_journal_is_enough(url: str) -> None:
    """From the oldest checkpoint on; what was decided before it is judged by its inputs."""
    with open_reader(url) as conn:
        oldest = usable_checkpoints(conn, WORKER)[0]
    change(url, delete(RISK_JOURNAL).where(J.seq <= oldest.journal))
    with open_reader(url) as conn:
        found = verify(conn, decisions(url))
    status = [v.status for v in found]
    assert status[0] == INPUTS_ONLY
    assert status[-1] == SAME
    assert [v.status for v in verified(url)] == status


def test_no_checkpoint_is_kept_of_what_the_chain_does_not_say(bare: str) -> None:
    """A journal that gives something else than what was decided is nothing to build on."""
    gone = select(A.seq).where(A.kind == DecisionMade.__name__).order_by(A.seq).limit(1)
    change(bare, delete(AUDIT_CHAIN).where(A.seq == gone.scalar_subquery()))
    with pytest.raises(StoreError, match="no checkpoint is kept from here on"):
        kept(bare)
    with open_reader(bare) as conn:
        assert checkpoints(conn, WORKER) == []


def test_another_engine_goes_on_from_none(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows are read by who wrote them."""
    monkeypatch.setattr("riskwatch.store.checkpoints.ENGINE", "9.9.9")
    with open_reader(url) as conn:
        assert usable_checkpoints(conn, WORKER) == []


def test_the_commands(bare: str) -> None:
    """Keep, check and verify from the command line; a changed checkpoint ends with code 1."""
    run = CliRunner().invoke
    to = ["--database", bare]
    done = run(app, ["audit", "checkpoint", *to])
    assert (done.exit_code, len(done.stdout.splitlines())) == (0, NIGHTS)
    assert "no new day" in run(app, ["audit", "checkpoint", *to]).stdout
    last = decisions(bare)[-1]
    assert "after the checkpoint" in run(app, ["verify", last, *to]).stdout
    assert "after the checkpoint" not in run(app, ["verify", last, "--whole", *to]).stdout
    assert run(app, ["audit", "verify", *to]).exit_code == 0
    change(bare, update(CHECKPOINT_ROW).values(body=b"{}"))
    for command in (["audit", "verify"], ["verify", last]):
        done = run(app, [*command, *to])
        assert (done.exit_code, "was changed" in done.stdout) == (1, True)
