"""A board drawn in a terminal, 80 columns and wider."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rich.box import SIMPLE_HEAD
from rich.console import Group
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from riskwatch.core.enums import Quality, State, strictest
from riskwatch.dashboard.board import SPARKS
from riskwatch.dashboard.formatting import bp, clock, money, price, sparkline

if TYPE_CHECKING:
    from rich.console import RenderableType

    from riskwatch.dashboard.board import Board

STYLES: Final = {
    State.NORMAL: "green",
    State.WATCH: "yellow",
    State.REDUCE: "bold dark_orange",
    State.HALT: "bold white on red",
}
_WIDE: Final = 110
_WIDER: Final = 140
_MOST: Final = 6
"""Most rows of a table, so that the log has enough room."""


def render(
    board: Board, width: int, height: int = 40, *, ascii_only: bool = False
) -> RenderableType:
    """Draw `board`.

    Parameters
    ----------
    board : Board
        The content.
    width, height : int
        Columns and lines of the terminal. From 110 columns on, the tables stand in two columns. The
        log fills the remaining lines.
    ascii_only : bool
        Whether to avoid block characters.
    """
    trend = 8 if _WIDE <= width < _WIDER else 16
    left = [_assets(board, trend, ascii_only=ascii_only), Text(), _scores(board)]
    right = [_exposures(board), Text(), _switches(board)]
    body = Table.grid(expand=True, padding=(0, 1))
    if width >= _WIDE:
        body.add_column(ratio=5)
        body.add_column(ratio=4)
        body.add_row(Group(*left), Group(*right))
        used = 24
    else:
        body.add_column()
        for part in (left[0], right[2], right[0], left[2]):
            body.add_row(part)
        used = 34
    return Group(_header(board), body, _log(board, max(4, height - used), wrap=width < _WIDE))


def badge(state: State) -> Text:
    """Return the name of a state in its colour."""
    return Text(f" {state} " if state is State.HALT else str(state), style=STYLES[state])


def _header(board: Board) -> RenderableType:
    worst = strictest(s.effective for s in board.switches.values())
    words = Table.grid(expand=True, padding=(0, 1))
    words.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
    words.add_column(justify="right", no_wrap=True)
    words.add_row(
        Text(board.title, style="bold"),
        Text.assemble(
            (f"{clock(board.now)} UTC" if board.now else "starting", "bold cyan"),
            f"  {board.events:,} events  ",
            badge(worst),
        ),
    )
    words.add_row(ProgressBar(total=1.0, completed=board.progress), Text(f"{board.progress:4.0%}"))
    return Panel(words, title="riskwatch", border_style=STYLES[worst].split(" on ")[-1])


def _table(title: str, *columns: str) -> Table:
    """Return an empty table; a column that starts with ``>`` is a number, ``~`` may be cut."""
    table = Table(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD,
                  expand=True, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)  # fmt: skip
    for column in columns:
        table.add_column(
            column.lstrip(">~"),
            justify="right" if column.startswith(">") else "left",
            no_wrap=True,
            overflow="ellipsis",
            ratio=1 if column.startswith("~") else None,
        )
    return table


def _assets(board: Board, trend: int, *, ascii_only: bool) -> RenderableType:
    table = _table("Assets", "asset", ">price", ">bp off peg", "~trend", "cause", "data", "state")
    upto = min(SPARKS - 1, int(board.progress * SPARKS))
    for line in board.asset_lines()[:_MOST]:
        value = line.last
        scope = f"asset:{value.asset}"
        floating = value.asset not in board.issuers and not value.deviation_bp
        bars = "" if floating else sparkline(line.sparks, upto, trend, ascii_only=ascii_only)
        table.add_row(
            Text(value.asset),
            price(value.price_usd),
            "" if floating else bp(value.deviation_bp),
            Text(bars, style=STYLES[board.state(scope)].split(" on ")[-1]),
            str(value.cause),
            Text(value.quality, style="" if value.quality is Quality.GOOD else "yellow"),
            badge(board.state(scope)),
        )
    return table


def _exposures(board: Board) -> RenderableType:
    table = _table("Exposure, USD", "~counterparty", ">held", "~asset (issuer)", ">held")
    places, assets = board.holdings_usd("counterparty")[:_MOST], board.holdings_usd("asset")[:_MOST]
    for i in range(max(len(places), len(assets))):
        place = places[i] if i < len(places) else None
        asset = assets[i] if i < len(assets) else None
        issuer = board.issuers.get(asset[0]) if asset else None
        table.add_row(
            Text(place[0] if place else ""),
            money(place[1]) if place else "",
            Text(f"{asset[0]} ({issuer})" if asset and issuer else asset[0] if asset else ""),
            money(asset[1]) if asset else "",
        )
    return table


def _scores(board: Board) -> RenderableType:
    table = _table("Scores", "scope", "~target", ">p", "by")
    for score in board.top_scores(4):
        table.add_row(
            Text(score.scope),
            Text(score.target),
            f"{score.probability:.1%}",
            Text(score.generation),
        )
    return table


def _switches(board: Board) -> RenderableType:
    table = _table("Kill switch", "~scope", "state", "cause", "since")
    for switch in board.engaged_switches()[:_MOST]:
        table.add_row(
            Text(switch.scope),
            badge(switch.effective),
            str(switch.cause),
            clock(switch.ts),
        )
    if not board.engaged_switches():
        table.add_row(Text("every scope is NORMAL", style="green"), "", "", "")
    return table


def _log(board: Board, lines: int, *, wrap: bool) -> RenderableType:
    """Return the last changes; in a narrow terminal a reason may take a second line."""
    table = _table("Changes", "UTC", "scope", "change", "~why")
    table.columns[-1].no_wrap = not wrap
    for line in list(board.log)[-lines:]:
        table.add_row(
            clock(line.ts),
            Text(_short(line.scope)),
            Text(line.change, style=STYLES[line.state].split(" on ")[-1]),
            Text(line.text),
        )
    return table


def _short(scope: str) -> str:
    """Cut a long scope, so that the reason has enough room."""
    return scope if len(scope) <= 26 else scope[:25] + "…"
