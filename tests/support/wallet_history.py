"""The ledger of a real account at a venue, as the events that a connector would send."""

from __future__ import annotations

import csv
import gzip
from datetime import datetime
from typing import TYPE_CHECKING, Final

from riskwatch.contracts.codec import decode
from riskwatch.contracts.refusal import Refusal
from riskwatch.core.clock import micros

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from riskwatch.core.events import WireEvent

KINDS: Final = {
    "RealisedPNL": "realised_pnl",
    "SpotTrade": "conversion",
    "Conversion": "conversion",
}
"""Kind of adjustment by the venue's type of entry; the others are transfers."""


def entries(path: Path) -> list[dict[str, str]]:
    """Return the entries of the account that were completed, in the venue's order."""
    with gzip.open(path, "rt", newline="") as lines:
        return [row for row in csv.DictReader(lines) if row["transactStatus"] == "Completed"]


def events(rows: list[dict[str, str]]) -> Iterator[WireEvent]:
    """Return one event for each entry; no event contains a balance.

    Amounts are whole numbers of the venue's smallest unit. Withdrawals contain their fee.
    """
    for row in rows:
        amount, fee = int(row["amount"]), int(float(row["fee"] or 0))
        common = {
            "v": "1", "event_id": row["transactID"], "ts": row["timestamp"], "source": "bitmex",
            "counterparty": "bitmex", "account": "main", "asset": row["currency"],
        }  # fmt: skip
        kind = KINDS.get(row["transactType"])
        if kind is not None:
            said = {"type": "adjustment", "adjustment_id": row["transactID"], "kind": kind}
            said |= {"amount": str(amount), "instrument": row["address"]}
        else:
            leaves = amount < 0
            said = {"type": "transfer", "transfer_id": row["transactID"], "book": "unallocated"}
            said |= {"direction": "withdrawal" if leaves else "deposit", "status": "confirmed"}
            said |= {"amount": str(abs(amount) - fee if leaves else amount)}
            said |= {"fee": str(fee), "fee_asset": row["currency"], "network": row["network"]}
        made = decode(line(common | said))
        assert not isinstance(made, Refusal), made.detail
        yield made


def line(fields: dict[str, str]) -> bytes:
    """Return fields as a message."""
    text = ",".join(f'"{name}":"{value}"' for name, value in fields.items() if name != "v")
    return f'{{"v":1,{text}}}'.encode()


def balances(rows: list[dict[str, str]]) -> dict[int, dict[str, int]]:
    """Return the venue's balances by currency after each time, microseconds."""
    found: dict[int, dict[str, int]] = {}
    now: dict[str, int] = {}
    for row in rows:
        now = now | {row["currency"]: int(row["walletBalance"])}
        found[micros(datetime.fromisoformat(row["timestamp"]))] = now
    return found
