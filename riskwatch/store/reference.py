"""Reference data as SQL tables, so that look-through can be a view."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sqlalchemy import Boolean, Column, Double, Table, Text, delete, insert

from riskwatch.store.types import METADATA

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from sqlalchemy.engine import Connection

    from riskwatch.core.reference import Party, Reference

REF_ASSET: Final = Table(
    "ref_asset",
    METADATA,
    Column("asset", Text, primary_key=True),
    Column("peg", Text, nullable=True),
    Column("issuer", Text, nullable=True),
    Column("fiat", Boolean, nullable=False),
    Column("collateral", Text, nullable=False),
    Column("prior_bp", Double, nullable=False),
    Column("volatility", Double, nullable=False),
)

REF_PARTY: Final = Table(
    "ref_party",
    METADATA,
    Column("party", Text, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("custody", Text, nullable=False),
    Column("lgd", Double, nullable=False),
    Column("jurisdiction", Text, nullable=False),
    Column("native_token", Text, nullable=True),
    Column("rating", Text, nullable=False),
    Column("group_id", Text, nullable=True),
    Column("withdrawal_cap_usd_day", Double, nullable=True),
)

REF_BACKING: Final = Table(
    "ref_backing",
    METADATA,
    Column("issuer", Text, primary_key=True),
    Column("holder", Text, primary_key=True),
    Column("share", Double, nullable=False),
)


def sync_reference(conn: Connection, reference: Reference) -> None:
    """Replace the reference tables by `reference`.

    Call it at start-up, inside a transaction. If an issuer names a holder twice, the shares are
    added up.
    """
    assets = [
        {
            "asset": name,
            "peg": a.peg,
            "issuer": a.issuer,
            "fiat": a.fiat,
            "collateral": a.collateral,
            "prior_bp": a.prior_bp,
            "volatility": a.volatility,
        }
        for name, a in sorted(reference.assets.items())
    ]
    parties = [
        {
            "party": name,
            "kind": p.kind,
            "custody": p.custody,
            "lgd": p.lgd,
            "jurisdiction": p.jurisdiction,
            "native_token": p.native_token,
            "rating": p.rating,
            "group_id": p.group,
            "withdrawal_cap_usd_day": p.withdrawal_cap_usd_day,
        }
        for name, p in sorted(reference.parties.items())
    ]
    backing = list(_backing(reference.parties))
    for table, rows in ((REF_ASSET, assets), (REF_PARTY, parties), (REF_BACKING, backing)):
        conn.execute(delete(table))
        if rows:
            conn.execute(insert(table), rows)


def _backing(parties: Mapping[str, Party]) -> Iterable[dict[str, object]]:
    for name, party in sorted(parties.items()):
        shares: dict[str, float] = {}
        for part in party.backing:
            shares[part.holder] = shares.get(part.holder, 0.0) + part.share
        for holder, share in sorted(shares.items()):
            yield {"issuer": name, "holder": holder, "share": share}
