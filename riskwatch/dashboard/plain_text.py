"""A board as lines of plain text: no colour, no cursor movement, one line per change."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from riskwatch.dashboard.formatting import bp, clock, money, price

if TYPE_CHECKING:
    from riskwatch.dashboard.board import Board, LogLine

_MOST: Final = 8


def line(entry: LogLine) -> str:
    """Return one change as a line of text.

    Examples
    --------
    >>> from datetime import UTC, datetime
    >>> from riskwatch.core.enums import State
    >>> from riskwatch.dashboard.board import LogLine
    >>> line(LogLine(datetime(2023, 3, 11, 3, 13, tzinfo=UTC), "asset:USDC", "WATCH > HALT",
    ...              "discount 180.0 bp", State.HALT))
    '11 Mar 03:13  asset:USDC  WATCH > HALT  discount 180.0 bp'
    """
    return f"{clock(entry.ts)}  {entry.scope}  {entry.change}  {entry.text}"


def table(board: Board) -> list[str]:
    """Return the current content of a board as a few lines."""
    now = clock(board.now) if board.now else "starting"
    lines = [f"-- {now} UTC, {board.progress:.0%} of the window, {board.events:,} events"]
    for asset in board.asset_lines()[:_MOST]:
        value = asset.last
        lines.append(
            f"   {value.asset:<8}{price(value.price_usd):>12}{bp(value.deviation_bp):>10} bp  "
            f"{value.cause:<8} {value.quality:<8} {board.state(f'asset:{value.asset}')}"
        )
    for by in ("counterparty", "asset", "issuer"):
        held = board.holdings_usd(by)[:_MOST]
        if held:
            sums = ", ".join(f"{name} {money(usd)}" for name, usd in held)
            lines.append(f"   USD by {by}: {sums}")
    engaged = [f"{s.scope} {s.effective}" for s in board.engaged_switches()]
    lines.append(f"   kill switch: {', '.join(engaged) or 'every scope is NORMAL'}")
    scores = [
        f"{s.scope} {s.target} {s.probability:.1%} ({s.generation})" for s in board.top_scores(3)
    ]
    if scores:
        lines.append(f"   scores: {', '.join(scores)}")
    return lines
