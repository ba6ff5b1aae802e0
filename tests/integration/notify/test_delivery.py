"""Delivery to real endpoints over real sockets: signatures, retries, dead letters and replays."""

from __future__ import annotations

import logging
import threading
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

from riskwatch.alerting.delivery import post_notification
from riskwatch.cli import app
from riskwatch.contracts.webhook import verify
from riskwatch.core.enums import State
from riskwatch.errors import FencedError, RiskwatchError
from riskwatch.store import notifications
from riskwatch.store.transaction import take_lease
from riskwatch.worker import logs
from tests.support.endpoint import KEY, SECRET_PATH, Endpoint, Reply, certificate, until
from tests.support.notifying import Office, leads, told
from tests.support.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sqlalchemy.engine import Engine

COIN = "asset:USDC"


@pytest.fixture(autouse=True)
def _direct(monkeypatch: pytest.MonkeyPatch) -> None:
    """No proxy of this machine stands between."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def office(engine: Engine) -> Office:
    """Return an office."""
    return Office(engine)


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    """Return an endpoint that takes everything."""
    with Endpoint() as made:
        yield made


def test_a_webhook_is_signed_and_says_everything(office: Office, endpoint: Endpoint) -> None:
    """The receiver can check who sent it, when, and that it was not changed."""
    made = told(COIN, State.HALT)
    office.queue(made)
    with office.delivering(leads(endpoint.url)):
        until(lambda: office.status(made) == "sent", "it is not sent")
    (got,) = endpoint.got
    now = time.time()
    assert got.path == SECRET_PATH
    assert verify(KEY.encode(), got.headers, got.body, now) is None
    assert verify(KEY.encode(), got.headers, got.body + b" ", now) is not None
    assert verify(b"another key, long enough", got.headers, got.body, now) is not None
    assert verify(KEY.encode(), got.headers, got.body, now + 301) is not None
    assert verify(KEY.encode(), {}, got.body, now) is not None
    later = got.headers | {"Riskwatch-Timestamp": str(int(now) + 1)}
    assert verify(KEY.encode(), later, got.body, now) is not None
    assert got.id == got.said["id"] == made.id
    said = got.said
    assert (said["version"], said["kind"], said["severity"]) == (1, "firing", "HALT")
    assert said["alerts"][0]["exposure_usd"] == "50000"
    assert office.counted("sent") == 1


def test_a_slack_message_is_text_and_blocks(office: Office, endpoint: Endpoint) -> None:
    """Without a signature; what feeds and people wrote has no meaning in it."""
    made = told("asset:<!channel>", State.HALT)
    office.queue(made, kind="slack")
    with office.delivering(leads(endpoint.url, kind="slack")):
        until(lambda: office.status(made) == "sent", "it is not sent")
    (got,) = endpoint.got
    # Nothing in the texts becomes a link, a mention or a preview.
    plain = {"mrkdwn": False, "parse": "none", "link_names": False}
    plain |= {"unfurl_links": False, "unfurl_media": False}
    assert {key: got.said[key] for key in got.said.keys() - {"text", "blocks"}} == plain
    assert got.said["text"].startswith("[HALT] asset:&lt;!channel&gt; is HALT")
    assert [block["type"] for block in got.said["blocks"]] == ["header", "section", "context"]
    header, section, _ = got.said["blocks"]
    assert header["text"]["type"] == "plain_text"  # in which nothing has a meaning
    assert "<" not in section["text"]["text"]
    assert "Riskwatch-Signature" not in got.headers


def test_failures_are_tried_again_with_the_same_key(office: Office, endpoint: Endpoint) -> None:
    """Two answers of 500, then it is taken: the same id and body, a later time and signature."""
    endpoint.replies = [Reply(500), Reply(503)]
    made = told(COIN)
    office.queue(made)
    with office.delivering(leads(endpoint.url, backoff_s=0.6, backoff_max_s=1.2)):
        until(lambda: office.status(made) == "sent", "it is not sent")
    assert len(endpoint.got) == 3
    assert {got.id for got in endpoint.got} == {made.id}
    assert len({got.body for got in endpoint.got}) == 1
    for got in endpoint.got:
        assert verify(KEY.encode(), got.headers, got.body, time.time()) is None
    first, second, third = (got.at for got in endpoint.got)
    assert second - first >= 0.3
    assert third - second >= 0.6
    assert office.rows()[made.id].tries == 3
    assert (office.counted("retried"), office.counted("sent")) == (2, 1)


def test_it_waits_as_long_as_it_is_asked_to(office: Office, endpoint: Endpoint) -> None:
    """Retry-After counts for the whole route, also where it is longer than the backoff."""
    endpoint.replies = [Reply(429, {"Retry-After": "2"})]
    made, other = told(COIN), told("asset:DAI")
    office.queue(made, other)
    with office.delivering(leads(endpoint.url)):
        until(lambda: office.status(made) == office.status(other) == "sent", "they are not sent")
    first, second, third = endpoint.got
    assert second.at - first.at >= 2.0
    assert third.at >= second.at


def test_a_refused_connection_ends_as_a_dead_letter(office: Office) -> None:
    """After the last try, with the reason; nothing of the URL but its host is told."""
    made = told(COIN)
    office.queue(made)
    nobody = f"http://127.0.0.1:{free_port()}{SECRET_PATH}"
    with office.delivering(leads(nobody, tries=3)):
        until(lambda: office.status(made) == "dead", "it is not given up")
    row = office.rows()[made.id]
    assert row.tries == 3
    assert row.reason.endswith("at try 3 of 3")
    assert "ConnectError" in row.reason
    assert "T0PSECRET" not in row.reason
    assert (office.counted("retried"), office.counted("dead")) == (2, 1)


def test_a_dead_letter_is_sent_again_by_command(
    office: Office, endpoint: Endpoint, url: str
) -> None:
    """Under its own id; who did it is on record."""
    endpoint.default = Reply(500)
    made, other = told(COIN), told("asset:DAI")
    office.queue(made, other)
    with office.delivering(leads(endpoint.url, tries=1)):
        until(lambda: office.status(made) == office.status(other) == "dead", "not given up")
    endpoint.default = Reply()
    seen = len(endpoint.got)
    env = {"RISKWATCH_DATABASE": url}
    shown = CliRunner().invoke(app, ["notify", "dead"], env=env)
    assert "HTTP 500, at try 1 of 1" in " ".join(shown.stdout.split())
    command = ["notify", "replay", made.id[:10], "--person", "ann"]
    done = CliRunner().invoke(app, command, env=env)
    assert done.stdout == "1 notices wait for delivery again\n"
    again = Office(office.engine)
    with again.delivering(leads(endpoint.url, tries=1)):
        until(lambda: again.status(made) == "sent", "it is not sent")
    assert [got.id for got in endpoint.got[seen:]] == [made.id]
    assert again.rows()[made.id].replayed_by == "ann"
    assert again.status(other) == "dead"
    rest = CliRunner().invoke(app, ["notify", "replay", "--all", "--route", "pager"], env=env)
    assert rest.stdout == "1 notices wait for delivery again\n"
    listed = CliRunner().invoke(app, ["notify", "list", "--json"], env=env)
    assert listed.stdout.count('"id"') == 2
    for wrong in ("replay", "replay ff --all", "replay zz", "list --status x"):
        refused = CliRunner().invoke(app, ["notify", *wrong.split()], env=env)
        assert isinstance(refused.exception, RiskwatchError)


def test_a_slow_or_dead_route_harms_no_other(office: Office, endpoint: Endpoint) -> None:
    """One hangs, one refuses, one is quick: the quick one has all of its own at once."""
    release = threading.Event()
    with Endpoint() as hangs:
        hangs.default = Reply(hold=release)
        targets = [
            leads(hangs.url, "hangs", timeout_s=5.0),
            leads(f"http://127.0.0.1:{free_port()}", "refuses"),
            leads(endpoint.url, "quick"),
        ]
        routes = ("hangs", "refuses", "quick")
        office.queue(*(told(f"asset:A{n}", route=r) for n in range(5) for r in routes))
        began = time.monotonic()
        with office.delivering(*targets):
            until(lambda: len(endpoint.got) == 5, "the quick one waits for others")
            assert time.monotonic() - began < 4.0
            assert len(hangs.got) == 1
            release.set()


def test_one_try_ends_whatever_the_endpoint_does(office: Office, endpoint: Endpoint) -> None:
    """An endpoint that sends a byte now and then is too slow all the same."""
    endpoint.replies = [Reply(trickle=True)]
    made = told(COIN)
    office.queue(made)
    began = time.monotonic()
    with office.delivering(leads(endpoint.url, timeout_s=0.5)):
        until(lambda: office.status(made) == "sent", "it is not sent")
    assert time.monotonic() - began < 10.0
    assert office.counted("retried") == 1


def test_redirects_are_not_followed(office: Office, endpoint: Endpoint) -> None:
    """What is told goes where the file says, and nowhere else."""
    with Endpoint() as elsewhere:
        endpoint.default = Reply(307, {"Location": elsewhere.url})
        made = told(COIN)
        office.queue(made)
        with office.delivering(leads(endpoint.url, tries=2)):
            until(lambda: office.status(made) == "dead", "it is not given up")
        assert elsewhere.got == []
    assert "HTTP 307" in office.rows()[made.id].reason


def test_a_certificate_that_nobody_vouches_for_is_refused(tmp_path: Path) -> None:
    """And taken where the route names it; a message is sent to nobody else."""
    tls = certificate(tmp_path)
    with Endpoint(tls=tls) as endpoint:
        url, now = f"https://127.0.0.1:{endpoint.port}{SECRET_PATH}", datetime.now(UTC)
        refused = post_notification(leads(url, allow_http=False), "id", b"{}", now)
        assert "CERTIFICATE_VERIFY_FAILED" in refused.failure
        assert "T0PSECRET" not in refused.failure
        assert endpoint.got == []
        assert post_notification(leads(url, ca_file=str(tls[0])), "id", b"{}", now).failure == ""
        assert len(endpoint.got) == 1


def test_the_order_within_a_group_is_kept(office: Office, endpoint: Endpoint) -> None:
    """What comes second waits while the first is tried again; other groups do not."""
    endpoint.replies = [Reply(500)]
    first, second = told(COIN, State.HALT), told(COIN, State.HALT)
    other = told("asset:DAI")
    office.queue(first, second, other)
    with office.delivering(leads(endpoint.url, backoff_s=6.0, backoff_max_s=6.0)):
        until(lambda: office.status(second) == "sent", "it is not sent")
    order = [got.id for got in endpoint.got]
    assert order == [first.id, other.id, first.id, second.id]


def test_the_urgent_goes_first(office: Office, endpoint: Endpoint) -> None:
    """A HALT overtakes what waits in other groups."""
    made = [told("asset:A"), told("asset:B", State.REDUCE), told("asset:C", State.HALT)]
    office.queue(*made)
    with office.delivering(leads(endpoint.url)):
        until(lambda: len(endpoint.got) == 3, "they are not sent")
    assert [got.id for got in endpoint.got] == [m.id for m in reversed(made)]


def test_the_queue_has_an_end(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """The least of what waits is given up, never a HALT for it; and it can be replayed."""
    monkeypatch.setattr(notifications, "MAX_WAITING", 3)
    halts = [told(f"asset:H{n}", State.HALT) for n in range(2)]
    low = [told(f"asset:L{n}") for n in range(3)]
    assert office.queue(halts[0], *low[:2]) == 0
    assert office.queue(halts[1], low[2]) == 2
    assert [office.status(m) for m in halts] == ["waiting", "waiting"]
    assert [office.status(m) for m in low] == ["dead", "dead", "waiting"]
    assert office.rows()[low[0].id].reason.startswith("QUEUE_FULL")


def test_who_lost_the_lease_writes_no_more(office: Office, endpoint: Endpoint) -> None:
    """It ends; whoever took the lease delivers, at worst once more under the same id."""
    made = told(COIN)
    office.queue(made)
    taken = take_lease(office.engine, notifications.WORKER, "another").epoch
    assert taken > office.epoch
    courier = office.courier(leads(endpoint.url))
    courier.run()
    assert isinstance(courier.failure, FencedError)
    assert office.status(made) == "waiting"


def test_a_pause_doubles_and_differs_by_chance(office: Office, endpoint: Endpoint) -> None:
    """From the first to the longest; between half of it and all of it; never before it is asked."""
    to = leads(endpoint.url, backoff_s=1.0, backoff_max_s=30.0)
    least, most = (office.courier(to, share=lambda s=share: s) for share in (0.0, 1.0))
    assert [most.pause(n, None) for n in (1, 2, 3, 6, 50)] == [1.0, 2.0, 4.0, 30.0, 30.0]
    assert [least.pause(n, None) for n in (1, 2, 3, 6)] == [0.5, 1.0, 2.0, 15.0]
    assert least.pause(1, 90.0) == 90.0


def test_what_is_old_is_forgotten(office: Office) -> None:
    """But never what still waits."""
    made, sent = told(COIN), told("asset:DAI")
    office.queue(made, sent)
    now = datetime.now(UTC)
    notifications.mark_delivered(office.engine, office.epoch, sent.id, now)
    notifications.forget_notifications(office.engine, now + timedelta(days=1))
    assert list(office.rows()) == [made.id]


def test_routes_that_are_gone_leave_dead_letters(office: Office) -> None:
    """What waited for them is not lost out of sight."""
    made = told(COIN, route="former")
    office.queue(made)
    notifications.give_up_orphans(office.engine, office.epoch, ["pager"], datetime.now(UTC))
    assert office.rows()[made.id].reason.startswith("ROUTE_GONE")


def test_no_log_tells_the_url_or_the_key(
    office: Office, endpoint: Endpoint, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not of the library, not at its most talkative, not of ours, in success or failure."""
    logs.configure_logging("debug", "json")
    handlers = list(logging.getLogger().handlers)
    seen: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            seen.append(record.getMessage())

    keep: Any = Keep(logging.DEBUG)
    logging.getLogger().addHandler(keep)
    before = logging.getLogger().level
    logging.getLogger().setLevel(logging.DEBUG)
    try:
        endpoint.replies = [Reply(500)]
        made = told(COIN)
        office.queue(made)
        with office.delivering(leads(endpoint.url)):
            until(lambda: office.status(made) == "sent", "it is not sent")
    finally:
        logging.getLogger().setLevel(before)
        logging.getLogger().handlers[:] = handlers
    said = capsys.readouterr().err + "".join(seen)
    assert "not sent" in said
    assert "127.0.0.1" in said
    for secret in ("T0PSECRET", "hush-hush", KEY):
        assert secret not in said
    assert "T0PSECRET" not in repr(leads(endpoint.url))
