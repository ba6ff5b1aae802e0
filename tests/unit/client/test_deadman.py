"""A venue's own cancel-on-timeout: pushed away while the guard allows, and left to fire at HALT."""

from __future__ import annotations

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING

import httpx
import pytest

from riskwatch.client import Answer, DeadMan
from riskwatch.core.enums import State
from riskwatch.errors import ConfigError
from tests.support.gateway import wait

if TYPE_CHECKING:
    from collections.abc import Iterator

TIMEOUT_S = 1.0


class Venue:
    """A local server with one call: cancel everything of mine in so many seconds."""

    def __init__(self) -> None:
        self.asked: list[float] = []
        self.broken = False
        self.fires = float("inf")
        venue = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                if not venue.broken:
                    venue.asked.append(time.monotonic())
                    venue.fires = time.monotonic() + body["timeout"]
                self.send_response(500 if venue.broken else 200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/cancelAllAfter"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))

    @property
    def resting(self) -> bool:
        """Whether our orders still rest there."""
        return time.monotonic() < self.fires

    def refresh(self, timeout_s: float) -> None:
        """Call it, as an adapter does."""
        httpx.post(self.url, json={"timeout": timeout_s}, timeout=0.2).raise_for_status()


@pytest.fixture
def venue() -> Iterator[Venue]:
    """Run a venue."""
    made = Venue()
    made.thread.start()
    yield made
    made.server.shutdown()
    made.thread.join()
    made.server.server_close()


class Guard:
    """Says what a test sets."""

    def __init__(self) -> None:
        self.state = State.NORMAL

    def __call__(self) -> Answer:
        """Answer."""
        return Answer(self.state is State.NORMAL, self.state, "because")


def test_it_is_pushed_away_while_the_guard_allows(venue: Venue) -> None:
    """At a quarter of the timeout, in REDUCE too, so that what reduces may rest."""
    guard = Guard()
    with DeadMan(venue.refresh, TIMEOUT_S, guard):
        wait(lambda: len(venue.asked) >= 4, "it is not refreshed")
        guard.state = State.REDUCE
        seen = len(venue.asked)
        wait(lambda: len(venue.asked) >= seen + 4, "not in REDUCE")
        assert venue.resting
    gaps = [b - a for a, b in zip(venue.asked, venue.asked[1:], strict=False)]
    assert min(gaps) >= TIMEOUT_S / 4 * 0.9


def test_it_fires_at_halt_within_the_timeout(venue: Venue) -> None:
    """No refresh any more, the venue cancels by itself; after the release it is armed again."""
    guard = Guard()
    with DeadMan(venue.refresh, TIMEOUT_S, guard) as deadman:
        wait(lambda: venue.asked, "it is not refreshed")
        guard.state = State.HALT
        began = time.monotonic()
        wait(lambda: not venue.resting, "it never fires")
        assert time.monotonic() - began <= TIMEOUT_S + 0.5
        assert deadman.fires_by is not None
        seen = len(venue.asked)
        guard.state = State.NORMAL
        wait(lambda: len(venue.asked) > seen, "it is not armed again")


def test_it_fires_when_the_process_ends(venue: Venue) -> None:
    """Closing neither refreshes nor disarms."""
    with DeadMan(venue.refresh, TIMEOUT_S, Guard()):
        wait(lambda: venue.asked, "it is not refreshed")
    seen = len(venue.asked)
    wait(lambda: not venue.resting, "it never fires")
    assert len(venue.asked) == seen


def test_a_refresh_that_fails_is_tried_again(
    venue: Venue, caplog: pytest.LogCaptureFixture
) -> None:
    """Three may fail before the venue cancels; each is counted and logged."""
    deadman = DeadMan(venue.refresh, TIMEOUT_S, Guard())
    venue.broken = True
    assert [deadman.turn(), deadman.turn()] == [False, False]
    assert (deadman.failed, deadman.fires_by) == (2, None)
    assert "refresh failed (2 in a row)" in caplog.text
    venue.broken = False
    assert deadman.turn()
    assert deadman.failed == 0


@pytest.mark.parametrize("timeout", [0.0, -1.0, float("nan")])
def test_a_timeout_must_be_one(timeout: float) -> None:
    """Above 0."""
    with pytest.raises(ConfigError, match="seconds above 0"):
        DeadMan(lambda _: None, timeout, Guard())
