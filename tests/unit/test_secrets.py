"""No secret is told: not by a log, not by an error, not by a traceback."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from riskwatch import cli
from riskwatch.contracts.redact import redact_secrets
from riskwatch.errors import StoreError
from riskwatch.store.engine import open_engine
from riskwatch.worker import logs
from riskwatch.worker.logs import LogFormat  # noqa: TC001 - named in a signature

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SECRET: Final = "hunter2-Zq9"
DSN: Final = f"postgresql://me:{SECRET}@127.0.0.1:1/risk"
PEM: Final = f"-----BEGIN PRIVATE KEY-----\n{SECRET}\n-----END PRIVATE KEY-----"
TOLD: Final = (
    DSN,
    f"redis://:{SECRET}@host:6379/0",
    f"cannot reach {DSN}, will try again",
    f"user=me password={SECRET} host=db",
    f"{{'sasl_plain_password': '{SECRET}', 'x': 1}}",
    f'{{"api_key":"{SECRET}"}}',
    f"RISKWATCH_KAFKA_PASSWORD={SECRET}",
    f"postgresql://me:{SECRET}@x@db/risk",
    PEM,
    PEM[:-30],
)


@pytest.mark.parametrize("text", TOLD)
def test_what_is_secret_is_taken_out(text: str) -> None:
    """Of URLs, of settings however they are written, and of keys, also when they are cut."""
    assert SECRET not in redact_secrets(text)
    assert redact_secrets(redact_secrets(text)) == redact_secrets(text)


@pytest.mark.parametrize(
    "text",
    [
        "fills/3@17 of ledger/3",
        "http://localhost:8000/live",
        "asset:USDC at 03:13",
        "native_token: FTT",
    ],
)
def test_what_is_not_secret_stays(text: str) -> None:
    """Places, times, scopes and addresses are told as they are."""
    assert redact_secrets(text) == text


@given(st.from_regex(r"[A-Za-z0-9_.~!*()+-]{8,40}", fullmatch=True), st.text(max_size=20))
def test_any_password_of_a_url(password: str, around: str) -> None:
    """Whatever stands around it."""
    hidden = redact_secrets(f"{around} postgresql://user:{password}@db:5432/x {around}")
    assert f":{password}@" not in hidden


@pytest.fixture
def told(capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[[], str]]:
    """What is logged; the set-up of the process is put back."""
    handlers = list(logging.getLogger().handlers)
    yield lambda: capsys.readouterr().err
    structlog.reset_defaults()
    logging.getLogger().handlers[:] = handlers


def fails(log: Any) -> None:
    """Fail, and log it with its traceback."""
    try:
        broken()
    except StoreError:
        log.exception("failed", url=DSN)
        raise


def broken() -> None:
    """Fail as a library would, that knows nothing of secrets."""
    raise StoreError(DSN)


@pytest.mark.parametrize("form", ["json", "console"])
def test_logs_tell_no_secret(told: Callable[[], str], form: LogFormat) -> None:
    """Neither in the event, a value, a list, a mapping, an object, nor a traceback."""
    logs.configure_logging("debug", form)
    log = structlog.get_logger("test")
    values: dict[str, Any] = {"url": DSN, "all": [DSN], "map": {"a": DSN}, "error": ValueError(DSN)}
    log.info(TOLD[2], seq=17, **values)
    with suppress(StoreError):
        fails(log)
    logging.getLogger("library").warning("no answer from %s", DSN)
    said = told()
    assert said.count("***") >= 7
    assert "17" in said
    assert "StoreError" in said
    assert SECRET not in said


@pytest.mark.parametrize(
    "url", [f"mysql://me:{SECRET}@h/x", f"me:{SECRET}@h/x", f"nothing://{SECRET}", SECRET, DSN]
)
def test_a_database_that_cannot_be_opened_keeps_its_password(url: str) -> None:
    """The error says what is wrong with the URL without the URL, and so does its cause."""
    with pytest.raises(StoreError) as caught:
        open_engine(url)
    assert SECRET not in str(caught.value)


def test_an_error_and_a_bug_are_told_without_secrets(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line and 2 for an error, the traceback and 1 for a bug."""
    for error, code in ((StoreError(DSN), 2), (ZeroDivisionError(DSN), 1)):

        def app(error: Exception = error) -> None:
            raise error

        monkeypatch.setattr(cli, "app", app)
        with pytest.raises(SystemExit) as caught:
            cli.main()
        said = capsys.readouterr().err
        assert caught.value.code == code
        assert SECRET not in said
        assert "me:***@127.0.0.1" in said
        assert ("Traceback" in said) == (code == 1)


@pytest.mark.parametrize(
    "command", [("exposure",), ("db", "current"), ("doctor",), ("audit", "verify", "--from-topic")]
)
def test_commands_tell_no_secret_of_their_environment(command: tuple[str, ...]) -> None:
    """With servers that do not answer, in a process of its own, to either stream."""
    done = subprocess.run(
        [sys.executable, "-m", "riskwatch", *command],
        env={
            **os.environ,
            "RISKWATCH_DATABASE": DSN,
            "RISKWATCH_KAFKA": "127.0.0.1:1",
            "RISKWATCH_KAFKA_PROTOCOL": "SASL_PLAINTEXT",
            "RISKWATCH_KAFKA_USERNAME": "me",
            "RISKWATCH_KAFKA_PASSWORD": SECRET,
            "RISKWATCH_REDIS": f"redis://:{SECRET}@127.0.0.1:1/0",
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode in (1, 2), done.stderr
    assert SECRET not in done.stdout + done.stderr
