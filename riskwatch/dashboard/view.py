"""The display of a board while it changes: live in a terminal, or as lines of plain text."""

from __future__ import annotations

import re
import time
from datetime import timedelta
from io import StringIO
from typing import TYPE_CHECKING, Final, Self, TypeGuard

from rich.console import Console
from rich.live import Live

from riskwatch.core.clock import moment
from riskwatch.core.enums import State
from riskwatch.core.outputs import DecisionMade
from riskwatch.core.scopes import ASSET, kind_of_scope
from riskwatch.dashboard import plain_text
from riskwatch.dashboard.terminal import render
from riskwatch.errors import RiskwatchError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime
    from pathlib import Path
    from types import TracebackType

    from riskwatch.core.outputs import Output
    from riskwatch.dashboard.board import Board

_FRAME_S: Final = 1.0 / 12.0
_TABLE_EVERY: Final = timedelta(hours=4)
_PICTURE_DELAY: Final = timedelta(minutes=5)
"""Event time from the first HALT to the picture, so that it also shows the kill switch."""
_PICTURE: Final = (120, 34)
PICTURES: Final = (".svg", ".txt")


class PlaybackClock:
    """Paces event time at `speed` times the wall clock.

    Parameters
    ----------
    speed : float
        Event seconds per second; 0 means as fast as possible.
    now, wait : callable, optional
        The wall clock in seconds, and a function that waits.

    Examples
    --------
    >>> waited = []
    >>> pace = PlaybackClock(60.0, now=lambda: 0.0, wait=waited.append)
    >>> pace.wait_until(1_000_000), pace.wait_until(121_000_000)
    (None, None)
    >>> waited
    [2.0]
    """

    def __init__(
        self,
        speed: float,
        *,
        now: Callable[[], float] = time.monotonic,
        wait: Callable[[float], None] = time.sleep,
    ) -> None:
        self._speed = speed
        self._now = now
        self._wait = wait
        self._origin: tuple[int, float] | None = None

    def wait_until(self, us: int) -> None:
        """Wait until event time `us` is due; the first call sets the origin."""
        if self._speed <= 0.0:
            return
        if self._origin is None:
            self._origin = (us, self._now())
        due = self._origin[1] + (us - self._origin[0]) / 1e6 / self._speed
        ahead = due - self._now()
        if ahead > 0.0:
            self._wait(ahead)


class DashboardView:
    """Updates a board and displays it; a context manager that restores the terminal.

    Parameters
    ----------
    board : Board
        The content.
    console : Console
        The console to write to.
    live : bool
        Whether to redraw in place; otherwise lines of plain text are printed.
    pace : PlaybackClock
        Pace of event time.
    capture : Path, optional
        File for a picture of the frame shortly after the first HALT of an asset.

    Attributes
    ----------
    decisive : DecisionMade or None
        The first HALT of an asset.
    """

    def __init__(
        self,
        board: Board,
        console: Console,
        *,
        live: bool,
        pace: PlaybackClock,
        capture: Path | None = None,
    ) -> None:
        self.board = board
        self.decisive: DecisionMade | None = None
        self._console = console
        self._pace = pace
        self._capture = capture
        self._live = Live(console=console, auto_refresh=False, screen=True) if live else None
        self._frame_due = 0.0
        self._table_due: datetime | None = None

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.stop()
        if error is None:
            self._finish()

    def batch(self, us: int, outputs: Sequence[Output], events: int = 0) -> None:
        """Display the outputs of a batch.

        Parameters
        ----------
        us : int
            Event time reached, microseconds.
        outputs : sequence of Output
            Outputs of the stages.
        events : int
            Number of events in the batch.
        """
        board = self.board
        board.tick(moment(us), events)
        added = board.apply(outputs)
        if self.decisive is None:
            self.decisive = next((o for o in outputs if _is_decisive(o)), None)
        if self._live is None:
            for entry in added:
                self._print(plain_text.line(entry))
            self._table(moment(us))
        else:
            self._frame()
        if self.decisive is not None and moment(us) >= self.decisive.ts + _PICTURE_DELAY:
            self._picture()
        self._pace.wait_until(us)

    def _frame(self) -> None:
        now = time.monotonic()
        if self._live is not None and now >= self._frame_due:
            self._frame_due = now + _FRAME_S
            size = self._console.size
            self._live.update(
                render(self.board, size.width, size.height, ascii_only=self._ascii), refresh=True
            )

    @property
    def _ascii(self) -> bool:
        return not self._console.encoding.lower().startswith("utf")

    def _table(self, now: datetime) -> None:
        if self._table_due is None:
            self._table_due = now + _TABLE_EVERY
        elif now >= self._table_due:
            self._table_due = now + _TABLE_EVERY
            for text in plain_text.table(self.board):
                self._print(text)

    def _print(self, text: str) -> None:
        """Print without markup, wrapping, or characters that the stream cannot encode."""
        encoding = self._console.encoding
        printable = text.encode(encoding, "replace").decode(encoding)
        self._console.print(printable, markup=False, highlight=False, soft_wrap=True, emoji=False)

    def _finish(self) -> None:
        """Print the last frame or table, and write a picture that is still due."""
        if self._live is not None:
            size = self._console.size
            self._console.print(render(self.board, size.width, size.height, ascii_only=self._ascii))
        else:
            for text in plain_text.table(self.board):
                self._print(text)
        self._picture()

    def _picture(self) -> None:
        if self._capture is not None:
            write_picture(self.board, self._capture)
            self._capture = None


def _is_decisive(output: Output) -> TypeGuard[DecisionMade]:
    return (
        isinstance(output, DecisionMade)
        and output.state is State.HALT
        and output.previous is not State.HALT
        and kind_of_scope(output.scope) == ASSET
    )


def write_picture(board: Board, path: Path) -> None:
    """Write a picture of `board` as drawn in a terminal of 120 columns.

    Parameters
    ----------
    board : Board
        The content.
    path : Path
        A file ending in ``.svg`` or ``.txt``. The SVG loads no external font.

    Raises
    ------
    RiskwatchError
        If the ending is another, or the file cannot be written.
    """
    check_picture(path)
    width, height = _PICTURE
    console = Console(
        width=width, height=height, file=StringIO(), record=True, force_terminal=True,
        color_system="truecolor", legacy_windows=False,
    )  # fmt: skip
    console.print(render(board, width, height))
    if path.suffix == ".txt":
        text = console.export_text(styles=False)
    else:
        text = console.export_svg(title="riskwatch demo")
        text = re.sub(r"@font-face \{.*?\}\s*", "", text, flags=re.DOTALL)
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise RiskwatchError(f"{path}: cannot be written: {error.strerror}") from error


def check_picture(path: Path) -> None:
    """Check in advance that a picture can be written to `path`.

    Raises
    ------
    RiskwatchError
        If the ending is unknown, or the folder does not exist.
    """
    if path.suffix not in PICTURES:
        raise RiskwatchError(f"{path}: a picture ends in {' or '.join(PICTURES)}")
    if not path.parent.is_dir():
        raise RiskwatchError(f"{path}: there is no folder {path.parent}")
