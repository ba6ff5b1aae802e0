"""Dashboards at every width, in plain text, in pictures, and after an interrupt."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING

import pytest
from rich.console import Console

from riskwatch.core.clock import micros
from riskwatch.core.enums import State
from riskwatch.dashboard import plain_text
from riskwatch.dashboard.terminal import render
from riskwatch.dashboard.view import DashboardView, PlaybackClock, check_picture, write_picture
from riskwatch.errors import RiskwatchError
from tests.unit.dashboard import samples

if TYPE_CHECKING:
    from pathlib import Path

    from riskwatch.core.outputs import Output


def console(width: int, *, terminal: bool = False, height: int = 40) -> tuple[Console, io.StringIO]:
    """Return a console that writes to memory."""
    stream = io.StringIO()
    made = Console(
        file=stream, width=width, height=height, force_terminal=terminal, legacy_windows=False
    )
    return made, stream


def drawn(width: int, *, ascii_only: bool = False) -> str:
    """Return the crisis drawn at a width."""
    board = samples.board()
    board.apply(samples.crisis())
    board.tick(samples.at(39), 12_345)
    made, stream = console(width)
    made.print(render(board, width, 40, ascii_only=ascii_only))
    return stream.getvalue()


@pytest.mark.parametrize("width", [80, 100, 109, 110, 120, 140, 200])
def test_every_width_shows_what_matters(width: int) -> None:
    """No line is wider than the terminal; state, price, USD and reasons are shown."""
    text = drawn(width)
    assert max(len(line) for line in text.splitlines()) <= width
    for needed in ("asset:USDC", "HALT", "0.8950", "-1050.0", "2,560,000", "12,345", "97.0%"):
        assert needed in text, needed
    assert "180.0 bp below its" in text


def test_brackets_in_reasons_are_not_markup() -> None:
    """Brackets in a reason are printed unchanged."""
    assert "[limit 100 bp]" in drawn(200)


@pytest.mark.parametrize("width", [80, 120, 200])
def test_an_empty_board_can_be_drawn(width: int) -> None:
    """A board can be drawn before the first event."""
    made, stream = console(width)
    made.print(render(samples.board(), width, 30))
    assert "every scope is NORMAL" in stream.getvalue()
    assert "starting" in stream.getvalue()


def test_trends_can_do_without_block_characters() -> None:
    """An ASCII terminal gets trends without block characters."""
    assert "▁" in drawn(120)
    assert "▁" not in drawn(120, ascii_only=True)


def played(show: DashboardView) -> None:
    """Play the crisis hour by hour, as batches."""
    by_hour: dict[int, list[Output]] = {}
    for output in samples.crisis():
        by_hour.setdefault(micros(output.ts), []).append(output)
    for us in sorted(by_hour):
        show.batch(us, by_hour[us], events=3)


def test_plain_has_a_line_per_change_tables_and_no_control_codes() -> None:
    """Plain output has no control codes, even if the console is a terminal."""
    made, stream = console(80, terminal=True)
    with DashboardView(samples.board(), made, live=False, pace=PlaybackClock(0.0)) as show:
        played(show)
    text = stream.getvalue()
    assert "\x1b" not in text
    assert "\r" not in text
    lines = text.splitlines()
    assert sum("WATCH > HALT" in line for line in lines) == 1
    assert sum("10 Mar 22:00  asset:USDC  NORMAL > WATCH  35 bp" in line for line in lines) == 1
    tables = [line for line in lines if line.startswith("-- ")]
    assert len(tables) == 40 // 4
    assert "[limit 100 bp]" in text
    assert "kill switch: asset:USDC HALT" in text


def test_plain_says_what_an_ascii_stream_can_carry() -> None:
    """Characters that the stream cannot encode are replaced."""
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    made = Console(file=stream, width=80)
    board = samples.board()
    board.title = "Ω"
    with DashboardView(board, made, live=False, pace=PlaybackClock(0.0)) as show:
        show.batch(
            micros(samples.at(1)),
            [samples.decided("firm", 1, State.NORMAL, State.WATCH, "é → ü")],
        )
    stream.flush()
    assert b"NORMAL > WATCH  ? ? ?" in raw.getvalue()


def test_live_uses_another_screen_and_gives_it_back() -> None:
    """At the end the alternate screen is left, the cursor shown, and the last frame printed."""
    made, stream = console(120, terminal=True)
    with DashboardView(samples.board(), made, live=True, pace=PlaybackClock(0.0)) as show:
        played(show)
    assert show.decisive is not None
    assert show.decisive.scope == "asset:USDC"
    text = stream.getvalue()
    assert text.rindex("\x1b[?1049h") < text.rindex("\x1b[?1049l")
    assert text.rindex("\x1b[?25l") < text.rindex("\x1b[?25h")
    assert "0.8950" in text[text.rindex("\x1b[?1049l") :]


def test_an_interrupted_show_gives_the_terminal_back() -> None:
    """After Ctrl-C screen and cursor are restored, and nothing more is drawn."""
    made, stream = console(120, terminal=True)

    def play() -> None:
        with DashboardView(samples.board(), made, live=True, pace=PlaybackClock(0.0)) as show:
            played(show)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        play()
    text = stream.getvalue()
    assert text.rindex("\x1b[?1049h") < text.rindex("\x1b[?1049l")
    assert text.rindex("\x1b[?25l") < text.rindex("\x1b[?25h")
    assert "0.8950" not in text[text.rindex("\x1b[?1049l") :]


def test_the_picture_is_taken_soon_after_the_first_halt(tmp_path: Path) -> None:
    """The picture shows the hour after the HALT, not the end."""
    path = tmp_path / "frame.txt"
    made, _ = console(120)
    with DashboardView(
        samples.board(), made, live=False, pace=PlaybackClock(0.0), capture=path
    ) as show:
        played(show)
    text = path.read_text()
    assert "11 Mar 04:00 UTC" in text
    assert "HALT" in text


def test_without_a_halt_the_last_frame_is_the_picture(tmp_path: Path) -> None:
    """A run without a HALT writes a picture too."""
    path = tmp_path / "frame.txt"
    made, _ = console(120)
    with DashboardView(
        samples.board(), made, live=False, pace=PlaybackClock(0.0), capture=path
    ) as show:
        show.batch(micros(samples.at(2)), [samples.valued("USDC", 2, 1.0)])
    assert "10 Mar 14:00 UTC" in path.read_text()


def test_svg_is_whole_and_asks_for_nothing_from_elsewhere(tmp_path: Path) -> None:
    """The SVG is well-formed, has the state, and has no address except the SVG namespace."""
    path = tmp_path / "frame.svg"
    board = samples.board()
    board.apply(samples.crisis())
    write_picture(board, path)
    text = path.read_text()
    assert text.startswith("<svg")
    assert text.rstrip().endswith("</svg>")
    assert "HALT" in text
    assert "@font-face" not in text
    assert text.count("url(http") + text.count('href="http') == 0


@pytest.mark.parametrize("name", ["frame.png", "missing/frame.svg", "frame"])
def test_a_picture_that_could_not_be_written_is_refused_at_once(tmp_path: Path, name: str) -> None:
    """A wrong ending or a missing folder is an error before the run."""
    with pytest.raises(RiskwatchError, match=r"a picture ends in|there is no folder"):
        check_picture(tmp_path / name)


def test_pace_waits_only_when_it_is_ahead() -> None:
    """A batch is due at its event time divided by the speed; a late batch does not wait."""
    waited: list[float] = []
    clock = [0.0]
    pace = PlaybackClock(60.0, now=lambda: clock[0], wait=waited.append)
    pace.wait_until(0)
    pace.wait_until(60_000_000)
    clock[0] = 5.0
    pace.wait_until(120_000_000)
    assert waited == [1.0]
    fast = PlaybackClock(0.0, now=lambda: 0.0, wait=waited.append)
    fast.wait_until(0)
    fast.wait_until(10**12)
    assert waited == [1.0]


def test_plain_table_reads_back() -> None:
    """The table contains the most important facts."""
    board = samples.board()
    board.apply(samples.crisis())
    board.tick(samples.at(39), 12_345)
    text = "\n".join(plain_text.table(board))
    assert json.dumps(text).isascii()
    for needed in ("51% of the window", "12,345 events", "circle 2,560,000", "USDC HALT"):
        assert needed in text, needed
