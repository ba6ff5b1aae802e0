"""Records across deployments: journals count as they were applied; foreign evidence is told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from sqlalchemy import select, text, update
from typer.testing import CliRunner

from riskwatch.audit.checkpoints import keep_checkpoints
from riskwatch.audit.rederivation import Rederivation
from riskwatch.audit.verify import SAME, verify
from riskwatch.cli import app
from riskwatch.config.config import digest
from riskwatch.config.recorder import ConfigurationRecorder
from riskwatch.contracts import keyfile
from riskwatch.contracts.audit import Head, decode_head, encode_head
from riskwatch.contracts.codec import encode
from riskwatch.contracts.outputs import encode_output
from riskwatch.core.clock import MINUTE, micros
from riskwatch.core.deployment import UNBOUND
from riskwatch.core.outputs import ConfigurationChanged
from riskwatch.engine import bootstrap
from riskwatch.engine.clock import TickGrid
from riskwatch.engine.ports import SqlStore
from riskwatch.engine.publish import NullPublisher
from riskwatch.engine.record import InputRecord
from riskwatch.engine.runner import Runner
from riskwatch.store.audit import AUDIT_CHAIN, audit_rows, chain_tail, deployment_at, last_payload
from riskwatch.store.bundle import BundleManifest, check_bundle, read_manifest
from riskwatch.store.checkpoints import (
    CHECKPOINT,
    CheckpointError,
    check_checkpoints,
    checkpoint_rows,
    checkpoints,
    digest_of,
    usable_checkpoints,
)
from riskwatch.store.deployment import adopt, current_deployment, split_heads
from riskwatch.store.lease import release_lease
from riskwatch.store.projections import DECISION_LOG
from riskwatch.store.queries import open_reader
from riskwatch.store.truth import DEPLOYMENT
from tests.support.people import OPERATORS, command

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy.engine import Engine

    from riskwatch.config.config import Config
    from riskwatch.core.events import Command

WORKER = "risk"
OWN = (ConfigurationChanged.__name__, "DeploymentAdopted")


def configuration() -> Config:
    """Return the shipped configuration with the operators of the tests."""
    config = bootstrap.configuration()
    parts = (config.reference, config.limits, config.rules, config.policy, OPERATORS)
    return msgspec.structs.replace(
        config, operators=OPERATORS, digest=digest(*parts, names=config.names)
    )


def work(engine: Engine, deployment: str, *commands: Command) -> None:
    """Start a worker of a deployment, apply commands, and stop it."""
    with engine.connect() as conn:
        config = bootstrap.confirmed(
            configuration(), last_payload(conn, WORKER, ConfigurationChanged)
        )
    runner = Runner(
        SqlStore(engine),
        bootstrap.risk_pipeline(config, deployment),
        NullPublisher(),
        worker=WORKER,
        holder="test",
        grid=TickGrid(MINUTE),
        recorder=ConfigurationRecorder(WORKER, config, None, deployment),
    )
    runner.begin()
    for n, made in enumerate(commands):
        us = micros(made.ts)
        record = InputRecord("riskwatch.commands/0", n, encode(made), made, us)
        runner.apply(record)
    runner.commit([])
    release_lease(engine, WORKER, runner.epoch)


def lived(engine: Engine) -> None:
    """Go through the life of a database: before deployments, as `prod`, and as its copy."""
    with engine.begin() as conn:
        conn.execute(update(DEPLOYMENT).values(id="prod"))
    work(engine, UNBOUND, command("ann", "halt", 1, "book:a"))
    work(
        engine, "prod",
        command("ann", "halt", 2, "book:b"),
        command("ann", "halt", 3, "book:c", deployment="prod"),
    )  # fmt: skip
    adopt(
        engine, "cli", micros(command("ann", "halt", 4).ts), deployment="staging", person="ann",
        reason="a copy",
    )  # fmt: skip
    work(
        engine, "staging",
        command("ann", "halt", 5, "book:d", deployment="prod"),
        command("ann", "halt", 6, "book:e", deployment="staging"),
    )  # fmt: skip


def scopes(engine: Engine) -> list[str]:
    """Return the scopes of all decisions."""
    with engine.connect() as conn:
        return sorted(conn.execute(select(DECISION_LOG.c.scope)).scalars())


def test_a_journal_counts_as_it_was_applied(engine: Engine) -> None:
    """Old commands before deployments, then those of each deployment; each refusal again, too."""
    lived(engine)
    assert scopes(engine) == ["book:a", "book:c", "book:e"]
    with engine.connect() as conn:
        ids = list(conn.execute(select(DECISION_LOG.c.id)).scalars())
        assert [found.status for found in verify(conn, ids, whole=True)] == [SAME] * 3
        derived = {o.id: encode_output(o).decode() for o in Rederivation(conn, WORKER).outputs()}
        chain = [link for link in audit_rows(conn, WORKER) if link.kind not in OWN]
        assert {link.kind for link in chain} >= {"CommandRefused", "CommandApplied"}
        assert [derived[link.id] for link in chain] == [link.payload for link in chain]
        named = [deployment_at(conn, WORKER, entry) for entry in range(1, 100)]
    assert named[0] == UNBOUND
    assert named[-1] == "staging"
    assert "prod" in named


def kept(engine: Engine) -> None:
    """Store the due checkpoints, and one at the end."""
    with open_reader(str(engine.url)) as conn:
        keep_checkpoints(conn, engine, WORKER, end=True)


def test_a_checkpoint_names_its_deployment(engine: Engine) -> None:
    """It is of the deployment that applied its entry, and its digest covers that."""
    work(engine, UNBOUND, command("ann", "halt", 1, "book:a"))
    kept(engine)
    with engine.begin() as conn:
        conn.execute(update(DEPLOYMENT).values(id="prod"))
    work(engine, "prod", command("ann", "halt", 2, "book:b", deployment="prod"))
    kept(engine)
    with engine.connect() as conn:
        old, new = checkpoints(conn, WORKER)
        assert (old.deployment, new.deployment) == (UNBOUND, "prod")
        assert list(check_checkpoints(conn, WORKER)) == []
        assert usable_checkpoints(conn, WORKER) == [old, new]
        assert digest_of(msgspec.structs.replace(new, deployment="x")) != new.digest


def test_a_checkpoint_of_another_deployment_is_refused_and_told(engine: Engine) -> None:
    """Even with a digest that is right: nothing goes on from it, and `audit verify` names it."""
    lived(engine)
    kept(engine)
    with engine.begin() as conn:
        (found,) = checkpoints(conn, WORKER)
        assert found.deployment == "staging"
        forged = msgspec.structs.replace(found, deployment="prod")
        values = {"deployment": "prod", "digest": digest_of(forged)}
        conn.execute(update(CHECKPOINT).values(**values))
    with engine.connect() as conn:
        (forged,) = checkpoints(conn, WORKER)
        assert usable_checkpoints(conn, WORKER) == []
        (line,) = check_checkpoints(conn, WORKER)
        assert line.endswith(": is of deployment prod, and the entry is of staging")
        with pytest.raises(CheckpointError, match="is of deployment prod"):
            checkpoint_rows(conn, forged)
    done = run(engine, "audit", "verify")
    assert (done.exit_code, "is of deployment prod" in done.stdout) == (1, True)


def run(engine: Engine, *args: str) -> Any:
    """Run a command on the database."""
    env = {"RISKWATCH_DATABASE": str(engine.url), "COLUMNS": "250"}
    return CliRunner().invoke(app, list(args), env=env)


def test_a_bundle_names_its_deployment(engine: Engine, tmp_path: Path) -> None:
    """It is signed; a bundle of another deployment is refused and told."""
    lived(engine)
    key = str(tmp_path / "k")
    keyfile.create_private_key(tmp_path / "k")
    out = str(tmp_path / "out")
    span = ("--from", "2023-01-01T00:00:00Z", "--to", "2024-01-01T00:00:00Z")
    done = run(engine, "audit", "export", *span, "--out", out, "--key", key)
    assert done.exit_code == 0, done.exception
    assert read_manifest(tmp_path / "out").deployment == "staging"
    assert "staging" in (tmp_path / "out" / "report.html").read_text()
    assert "deployment staging" in run(engine, "audit", "check", out).stdout
    assert run(engine, "audit", "check", out, "--deployment", "staging").exit_code == 0
    refused = run(engine, "audit", "check", out, "--deployment", "prod")
    assert refused.exit_code == 1
    assert "manifest.json: is of deployment staging and not of prod" in refused.stdout
    body = (tmp_path / "out" / "manifest.json").read_text()
    (tmp_path / "out" / "manifest.json").write_text(body.replace('"staging"', '"prod"'))
    assert list(check_bundle(tmp_path / "out", None, "prod")) == [
        "manifest.json: its signature does not hold"
    ]


def test_an_old_bundle_has_no_deployment() -> None:
    """Its manifest stays readable."""
    names = ("begin", "end", "before", "after", "engine", "made", "key")
    old = dict.fromkeys(names, "") | {"first": 0, "last": 0, "files": {}, "v": 1, "worker": "w"}
    old["type"] = "riskwatch_audit_bundle"
    assert msgspec.convert(old, type=BundleManifest).deployment == ""


def test_heads_of_another_deployment_are_told(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They prove nothing here, right or wrong; those of the id before the copy count up to it."""
    lived(engine)
    with engine.connect() as conn:
        seq, tail = chain_tail(conn, WORKER)
        rows = {link.seq: link.digest for link in audit_rows(conn, WORKER)}
        c = AUDIT_CHAIN.c
        at = conn.execute(select(c.seq).where(c.kind == "DeploymentAdopted")).scalar_one()
        assert current_deployment(conn).id == "staging"

        def head(deployment: str, number: int, of: str = "") -> Head:
            return Head(
                worker=WORKER, epoch=1, seq=number, digest=of or rows.get(number, "0" * 64), ts="",
                engine="", deployment=deployment,
            )  # fmt: skip

        own = [head("", 1), head("staging", seq, tail), head("prod", at - 1)]
        foreign = [head("prod", at), head("other", 1), head("other", 2)]
        assert split_heads(conn, WORKER, own) == (own, [])
        mine, told = split_heads(conn, WORKER, [*own, *foreign])
    assert mine == own
    assert [line.removesuffix(": compare it with its own broker") for line in told] == [
        "risk: 2 heads were published by deployment other, and the database is deployment staging",
        "risk: 1 heads were published by deployment prod, and the database is deployment staging",
    ]
    monkeypatch.setattr("riskwatch.commands.audit.published_heads", lambda _: foreign)
    done = run(engine, "audit", "verify", "--from-topic")
    assert done.exit_code == 1
    assert told[0] in done.stdout
    assert decode_head(encode_head(own[1])) == own[1]


def test_a_chain_without_a_name_is_of_its_database(engine: Engine) -> None:
    """A database of an older build goes on: the next worker records the id."""
    work(engine, UNBOUND, command("ann", "halt", 1, "book:a"))
    with engine.begin() as conn:
        conn.execute(text("UPDATE deployment SET id = 'prod'"))
    work(engine, "prod")
    work(engine, "prod")
    with engine.connect() as conn:
        records = [link for link in audit_rows(conn, WORKER) if link.kind == OWN[0]]
        assert [deployment_at(conn, WORKER, n) for n in (1, 99)] == [UNBOUND, "prod"]
    assert len(records) == 2
