"""Every kind of broken message becomes a dead letter, complete and with its reason."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import select, text

from riskwatch.core.enums import RejectReason
from riskwatch.engine import bootstrap
from riskwatch.engine.replay import ReplayJob, open_database, replay_files
from riskwatch.store.schema import METADATA

if TYPE_CHECKING:
    from pathlib import Path

CONFIG = bootstrap.configuration()
FILL = {
    "type": "fill", "v": 1, "event_id": "1", "ts": "2023-03-11T03:00:00Z", "source": "desk",
    "counterparty": "kraken", "account": "main", "book": "mm", "base": "BTC", "quote": "USD",
    "side": "buy", "qty": "0.5", "price": "20000",
}  # fmt: skip


COMMAND = (
    b'{"type":"command","v":1,"event_id":"9","ts":"2023-03-11T03:00:00Z","source":"desk",'
    b'"operator":"ann","action":"release","scope":"asset:USDC","reason":"x",'
    b'"idempotency_key":"k","signature":"s"}'
)


def fill(**changes: object) -> bytes:
    """A fill with changes; a value of ``None`` leaves the field out."""
    made = {k: v for k, v in (FILL | changes).items() if v is not None}
    return json.dumps(made, separators=(",", ":")).encode()


BROKEN = {
    "not JSON": (b"{fill", RejectReason.JSON_MALFORMED),
    "no object": (b"[1,2]", RejectReason.JSON_MALFORMED),
    "bad UTF-8": (b'{"type":"fill\xff"}', RejectReason.UTF8_INVALID),
    "white space": (b"   ", RejectReason.MESSAGE_EMPTY),
    "unknown type": (fill(type="filll"), RejectReason.TYPE_UNKNOWN),
    "no type": (fill(type=None), RejectReason.TYPE_UNKNOWN),
    "another version": (fill(v=2), RejectReason.VERSION_UNSUPPORTED),
    "missing field": (fill(price=None), RejectReason.FIELD_MISSING),
    "mistyped field": (fill(qty=[1]), RejectReason.FIELD_TYPE),
    "outside of its set": (fill(side="both"), RejectReason.FIELD_TYPE),
    "NaN": (fill(qty="NaN"), RejectReason.NUMBER_NOT_FINITE),
    "Infinity": (fill(price="Infinity"), RejectReason.NUMBER_NOT_FINITE),
    "huge exponent": (fill(price="1E+999999"), RejectReason.NUMBER_TOO_LARGE),
    "negative quantity": (fill(qty="-1"), RejectReason.FIELD_RANGE),
    "before there were any": (fill(ts="1999-01-01T00:00:00Z"), RejectReason.TS_OUT_OF_RANGE),
    "no such day": (fill(ts="2023-02-31T00:00:00Z"), RejectReason.FIELD_TYPE),
    "from the future": (
        fill(ts="2023-03-11T03:00:06Z", arrived="2023-03-11T03:00:00Z"),
        RejectReason.TS_FROM_FUTURE,
    ),
    "duplicated key": (fill()[:-1] + b',"qty":"7"}', RejectReason.KEY_DUPLICATED),
    "ten megabytes": (fill(order_id="x" * 10_000_000), RejectReason.MESSAGE_TOO_LARGE),
    "a command of nobody that is known": (COMMAND, RejectReason.COMMAND_REFUSED),
}


@pytest.mark.parametrize("name", BROKEN)
def test_one_broken_message_between_good_ones(name: str, tmp_path: Path) -> None:
    """It is a dead letter with its bytes and reason, and what is around it is applied."""
    line, reason = BROKEN[name]
    path = tmp_path / "events.ndjson"
    path.write_bytes(b"\n".join((fill(event_id="a"), line, fill(event_id="b"))) + b"\n")
    url = f"sqlite:///{tmp_path}/r.db"
    summary = replay_files(ReplayJob([path], url), bootstrap.pipeline(CONFIG))
    assert (summary.read, summary.applied, summary.duplicate, summary.rejected) == (3, 2, 0, 1)
    dead = METADATA.tables["dead_letter"].c
    with open_database(url) as engine, engine.connect() as conn:
        (row,) = conn.execute(select(dead.reason, dead.payload, dead.payload_bytes, dead.detail))
        assert row.reason == reason, row.detail
        assert row.payload_bytes == len(line)
        assert bytes(row.payload) == line
        held = conn.execute(text("SELECT amount FROM exposure WHERE asset = 'BTC'")).scalar_one()
        assert held == "1"


def test_files_of_nothing_but_rubbish(tmp_path: Path) -> None:
    """An empty file, one without a last newline, one of zeros: counted, kept, no crash."""
    files = []
    for name, data in (("a", b""), ("b", b"{torn"), ("c", b"\0" * 5_000), ("d", b"\n\n\n")):
        files.append(tmp_path / f"{name}.ndjson")
        files[-1].write_bytes(data)
    url = f"sqlite:///{tmp_path}/r.db"
    summary = replay_files(ReplayJob(files, url), bootstrap.pipeline(CONFIG))
    assert summary.read == summary.rejected
    assert summary.applied == 0
    dead = METADATA.tables["dead_letter"].c
    with open_database(url) as engine, engine.connect() as conn:
        kept = sorted(bytes(row[0]) for row in conn.execute(select(dead.payload)))
    assert kept.count(b"{torn") == 1
    assert kept.count(b"\0" * 5_000) == 1
