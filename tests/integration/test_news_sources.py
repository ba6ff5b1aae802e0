"""Sources of credit news in a live worker: a name is no proof, a signature is one."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import select, text

from riskwatch.client import Publisher
from riskwatch.contracts.connection import KafkaConnection
from riskwatch.contracts.keyfile import create_private_key
from riskwatch.contracts.signing import public_key_text
from riskwatch.core.events import Credit
from riskwatch.store.projections import KILLSWITCH
from riskwatch.store.truth import DEAD_LETTER
from tests.support.gateway import wait
from tests.support.office import Office

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from riskwatch.client.publish import Published


@pytest.fixture
def office(
    mirror_template: bytes, tmp_path: Path, kafka_broker: str, kafka_prefix: str
) -> Iterator[Office]:
    """Return a new deployment on the shared broker."""
    path = tmp_path / "office.db"
    path.write_bytes(mirror_template)
    connection = KafkaConnection(servers=kafka_broker, prefix=kafka_prefix)
    made = Office(tmp_path, f"sqlite:///{path}", connection)
    yield made
    made.close()


def report(
    office: Office, source: str, subject: str, key: Path | None = None, of: str = ""
) -> Published:
    """Publish that a counterparty is insolvent, as a source."""
    news = Credit(
        v=1, event_id=f"{source}-{subject}", ts=datetime.now(UTC), source=source, subject=subject,
        kind="insolvency",
    )  # fmt: skip
    with Publisher(office.connection, signing_key=key, deployment=of or own(office)) as publisher:
        assert publisher.send(news) is None
    return publisher.result


def own(office: Office) -> str:
    """Id of the deployment."""
    (row,) = office.rows(text("SELECT id FROM deployment ORDER BY number DESC LIMIT 1"))
    return str(row.id)


def halted(office: Office) -> set[str]:
    """Scopes at HALT."""
    k = KILLSWITCH.c
    return {row.scope for row in office.rows(select(k.scope).where(k.state == "HALT"))}


def test_a_name_is_no_proof_and_a_signature_is_one(office: Office, tmp_path: Path) -> None:
    """Unsigned news of a court with a key is refused; a regulator without one is ordinary."""
    key, other = tmp_path / "court.pem", tmp_path / "other.pem"
    public = public_key_text(create_private_key(key).public_key())
    create_private_key(other)
    with (office.rules / "policy.toml").open("a") as policy:
        policy.write(f'\n[risk.source_keys]\ncourt = "{public}"\n')
    with office.worker():
        report(office, "regulator", "ftx")
        report(office, "court", "kraken")
        report(office, "court", "okx", other)
        report(office, "court", "bybit", key, of="staging")
        report(office, "court", "binance", key)
        wait(lambda: "counterparty:binance" in halted(office), "a signed insolvency halts nothing")
        assert halted(office) == {"counterparty:binance"}
    letters = office.rows(select(DEAD_LETTER.c.reason, DEAD_LETTER.c.detail))
    assert [row.reason for row in letters] == ["SIGNATURE_INVALID"] * 3
    assert all("source 'court' has a key" in row.detail for row in letters)
