"""Attested reserves and redemptions, from events to states, with the shipped rules."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from io import BytesIO
from typing import TYPE_CHECKING, Any

import pytest

from riskwatch.core.enums import State
from riskwatch.engine import bootstrap
from riskwatch.engine.publish import NdjsonPublisher
from riskwatch.engine.replay import ReplayJob, replay_files

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

START = datetime(2023, 3, 1, tzinfo=UTC)
Event = dict[str, Any]


def event(tag: str, minute: int, name: str, **fields: Any) -> Event:
    """One event at a minute since the start."""
    ts = (START + timedelta(minutes=minute)).strftime("%Y-%m-%dT%H:%M:%SZ")
    common = {"v": 1, "type": tag, "event_id": f"{name}-{minute}", "source": name, "ts": ts}
    return {**common, **fields}


def calm(minutes: int) -> Iterator[Event]:
    """Quotes of USDC at par at two venues every ten minutes."""
    for minute in range(0, minutes, 10):
        for venue in ("kraken", "coinbase"):
            yield event(
                "quote", minute, venue, venue=venue, base="USDC", quote="USD", last="1.0000",
                volume="1000",
            )  # fmt: skip


def strictest(folder: Path, events: list[Event], scope: str) -> State:
    """Return the strictest state of a scope in a replay of some events."""
    path, out = folder / "events.ndjson", BytesIO()
    ordered = sorted(events, key=lambda each: each["ts"])
    path.write_bytes(b"".join(json.dumps(each).encode() + b"\n" for each in ordered))
    config = bootstrap.configuration()
    job = ReplayJob([path], f"sqlite:///{folder}/a.db", publisher=NdjsonPublisher(out))
    replay_files(job, bootstrap.pipeline(config), config=config)
    sent = [json.loads(line)["value"] for line in out.getvalue().splitlines()]
    made = [v for v in sent if v["type"] == "DecisionMade" and v["scope"] == scope]
    return max((State(v["state"]) for v in made), key=lambda s: s.rank, default=State.NORMAL)


@pytest.mark.parametrize(
    ("subject", "scope", "ratio", "source", "state"),
    [
        ("kraken", "counterparty:kraken", "0.70", "press", State.WATCH),
        ("kraken", "counterparty:kraken", "1.02", "press", State.NORMAL),
        ("circle", "asset:USDC", "0.80", "press", State.WATCH),
        ("kraken", "counterparty:kraken", "0.70", "regulator", State.REDUCE),
        ("circle", "asset:USDC", "0.80", "regulator", State.REDUCE),
    ],
)
def test_an_attestation_below_par_moves_a_state(
    tmp_path: Path, subject: str, scope: str, ratio: str, source: str, state: State
) -> None:
    """A venue at 0.70 and an issuer at 0.80 are watched on any word, reduced on a trusted one."""
    said = event("credit", 20, source, subject=subject, kind="attestation", ratio=ratio)
    assert strictest(tmp_path, [*calm(60), said], scope) is state


def redemptions(tmp_path: Path, shares: list[float]) -> State:
    """Return the strictest state of USDC while shares of its supply are redeemed, hour by hour."""
    supply, events = 1000.0, list(calm(60 * len(shares) + 60))
    for hour, share in enumerate(shares):
        gone = 1000.0 * share
        supply -= gone
        events.append(
            event(
                "peg",
                60 * hour + 5,
                "issuer",
                asset="USDC",
                venue="coinbase",
                price="1.0000",
                supply=f"{supply:.2f}",
                redeemed=f"{gone:.2f}",
            )
        )
    return strictest(tmp_path, events, "asset:USDC")


def test_forty_percent_of_a_supply_redeemed_in_a_day_is_watched(tmp_path: Path) -> None:
    """It is WATCH: the coin is at par, so the run itself is no reason to stop it."""
    assert redemptions(tmp_path, [0.0, *[0.4 / 20] * 20]) is State.WATCH


def test_an_orderly_wind_down_is_no_kill(tmp_path: Path) -> None:
    """A tenth of the supply in a day at par changes no state."""
    assert redemptions(tmp_path, [0.0, *[0.1 / 20] * 20]) is State.NORMAL
