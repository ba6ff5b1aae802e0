"""The refresh of a venue's own cancel-on-timeout: it continues while the guard allows orders."""

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
    """A local server with one call: cancel all my orders in the given number of seconds."""

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
        """Whether the orders are still open."""
        return time.monotonic() < self.fires

    def refresh(self, timeout_s: float) -> None:
        """Call the server, as an adapter does."""
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
    """Returns the state that a test sets."""

    def __init__(self) -> None:
        self.state = State.NORMAL

    def __call__(self) -> Answer:
        """Return an answer."""
        return Answer(self.state is State.NORMAL, self.state, "because")


def test_it_is_pushed_away_while_the_guard_allows(venue: Venue) -> None:
    """The timer is refreshed at a quarter of the timeout, in REDUCE too."""
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
    """At HALT the refreshes end and the venue cancels; after the release they start again."""
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
    """Closing neither refreshes the timer nor cancels it."""
    with DeadMan(venue.refresh, TIMEOUT_S, Guard()):
        wait(lambda: venue.asked, "it is not refreshed")
    seen = len(venue.asked)
    wait(lambda: not venue.resting, "it never fires")
    assert len(venue.asked) == seen


def test_a_refresh_that_fails_is_tried_again(
    venue: Venue, caplog: pytest.LogCaptureFixture
) -> None:
    """A failed refresh is counted, logged and repeated."""
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
    """A timeout that is not above 0 is refused."""
    with pytest.raises(ConfigError, match="seconds above 0"):
        DeadMan(lambda _: None, timeout, Guard())


class TypedVenue(Venue):
    """A venue that tells reduce-only orders apart; its timer cancels every order."""

    def __init__(self) -> None:
        super().__init__()
        self.unprotective = 3
        self.cancels = 0

    def cancel_unprotective(self) -> None:
        """Cancel all orders but reduce-only ones."""
        if self.broken:
            raise OSError("no answer")
        self.cancels += 1
        self.unprotective = 0


@pytest.fixture
def typed() -> Iterator[TypedVenue]:
    """Run a venue that tells reduce-only orders apart."""
    made = TypedVenue()
    made.thread.start()
    yield made
    made.server.shutdown()
    made.thread.join()
    made.server.server_close()


def test_a_halt_keeps_protective_orders_where_the_venue_can(typed: TypedVenue) -> None:
    """All other orders are cancelled at once, and the timer does not run out."""
    guard = Guard()
    deadman = DeadMan(
        typed.refresh, TIMEOUT_S, guard, cancel_unprotective=typed.cancel_unprotective
    )
    assert deadman.turn()
    assert (typed.cancels, typed.unprotective) == (0, 3)
    guard.state = State.HALT
    fires = typed.fires
    assert deadman.turn()
    assert (typed.cancels, typed.unprotective) == (1, 0)
    assert typed.fires > fires
    assert deadman.turn()  # an order that reached the venue after the first cancel
    assert typed.cancels == 2


def test_the_timer_runs_out_if_the_others_cannot_be_cancelled(
    typed: TypedVenue, caplog: pytest.LogCaptureFixture
) -> None:
    """A HALT that cancels nothing is worse than the loss of protective orders."""
    guard = Guard()
    deadman = DeadMan(
        typed.refresh, TIMEOUT_S, guard, cancel_unprotective=typed.cancel_unprotective
    )
    assert deadman.turn()
    guard.state, typed.broken = State.HALT, True
    fires = typed.fires
    assert not deadman.turn()
    assert (typed.fires, typed.unprotective, deadman.failed) == (fires, 3, 1)
    assert "cancel failed (1 in a row)" in caplog.text
    typed.broken = False
    assert deadman.turn()
    assert (typed.unprotective, deadman.failed) == (0, 0)
