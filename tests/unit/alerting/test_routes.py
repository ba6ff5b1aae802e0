"""``notify.toml``: an error is one line that names the place, and never the secret."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import httpx
import pytest
from typer.testing import CliRunner

from riskwatch.alerting.delivery import _failure_text
from riskwatch.alerting.routes import NOTIFY, load_notify, resolve_target, unrouted_severities
from riskwatch.cli import app
from riskwatch.config import paths
from riskwatch.core.alerting.config import NotifyConfig
from riskwatch.core.enums import State
from riskwatch.doctor import notify as doctor
from riskwatch.doctor.finding import Facts
from riskwatch.errors import ConfigError
from riskwatch.store import notifications
from riskwatch.worker.settings import ProcessSettings
from tests.support.notifying import Office, told

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy.engine import Engine

GOOD = """
[routes.pager]
kind = "webhook"
url_env = "URL"
secret_env = "KEY"
"""
SLACK = '[routes.desk]\nkind = "slack"\nurl_file = "{file}"\n'
HUSH = "https://hooks.example/T0PSECRET?token=hush"


def made(folder: Path, text: str) -> NotifyConfig:
    """Read a file of this text."""
    (folder / NOTIFY).write_text(text)
    return load_notify(folder)


def test_there_may_be_none(tmp_path: Path) -> None:
    """Without the file, and as it is shipped, nobody is called."""
    assert load_notify(tmp_path) == load_notify(paths.rules_folder()) == NotifyConfig()


def test_the_examples_of_the_shipped_file_are_good(tmp_path: Path) -> None:
    """Without their comment signs they are two routes that take everything between them."""
    text = (paths.rules_folder() / NOTIFY).read_text()
    head, _, examples = text.partition("# [routes.pager]")
    config = made(
        tmp_path, head + "[routes.pager]" + re.sub(r"^# ?", "", examples, flags=re.MULTILINE)
    )
    assert list(config.routes) == ["pager", "desk"]
    assert config.routes["pager"].escalate_to == "desk"
    assert config.routes["pager"].match[0].severity == (State.HALT,)
    assert unrouted_severities(config) == []


def test_durations_and_matchers_are_read(tmp_path: Path) -> None:
    """As people write them."""
    text = GOOD + 'repeat_s = "1h30m"\nmatch = [{scope_kind = ["asset"], usd_from = 5}]\n'
    route = made(tmp_path, text).routes["pager"]
    assert route.repeat_s == 5_400.0
    assert route.match[0].usd_from == 5


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (GOOD.replace("webhook", "mail"), "routes.pager.kind: expected one of webhook, slack"),
        (GOOD.replace('url_env = "URL"', ""), "either url_env or url_file"),
        (GOOD + 'url_file = "/x"', "either url_env or url_file"),
        (GOOD.replace('secret_env = "KEY"', ""), "either secret_env or secret_file"),
        (GOOD.replace('"URL"', f'"{HUSH}"'), "url_env: expected the name of a variable"),
        (GOOD + f'url = "{HUSH}"', "an unknown key"),
        (GOOD.replace("url_env", "url_file").replace('"URL"', f'"{HUSH}"'), "the path of a file"),
        (SLACK + 'secret_env = "KEY"', "no secret: a slack route is not signed"),
        (GOOD + 'escalate_to = "boss"', "together, or neither"),
        (GOOD + 'escalate_to = "boss"\nescalate_after_s = "5m"', "the name of another route"),
        (GOOD + 'escalate_to = "pager"\nescalate_after_s = "5m"', "the name of another route"),
        (GOOD + 'repeat_s = "10s"', "0s for never, or at least 1m"),
        (GOOD + "tries = 0", "a number from 1 to 50"),
        (GOOD + 'timeout_s = "2m"', "a number from 0.1 to 60.0"),
        (GOOD + 'backoff_s = "10m"', "at least 600 s"),
        (GOOD + 'group_by = ["colour"]', "any of alert, scope"),
        (GOOD + 'match = [{severity = ["BAD"]}]', "one of NORMAL, WATCH, REDUCE, HALT"),
        (GOOD + 'match = [{scope = ["USDC"]}]', "scopes such as asset:USDC or firm"),
        (GOOD + 'match = [{scope_kind = ["coin"]}]', "any of firm, book"),
        (GOOD + 'match = [{colour = ["red"]}]', "match[0].colour"),
        (GOOD + 'match = [{level_from = "huge"}]', "one of low, medium, high, critical"),
        (GOOD.replace("pager", "Pager"), "a name of small letters"),
        ("minor_usd = 2e6", "at most major_usd"),
        ("".join(GOOD.replace("pager", f"p{n}") for n in range(17)), "at most 16 routes"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, text: str, said: str) -> None:
    """With file and key; what stands where the name of a secret belongs is not shown."""
    with pytest.raises(ConfigError) as caught:
        made(tmp_path, text.replace("{file}", "/x"))
    assert str(caught.value).startswith("notify.toml: ")
    assert said in str(caught.value)
    assert "T0PSECRET" not in str(caught.value)
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({}, "a value in the variable URL"),
        ({"URL": HUSH}, "a value in the variable KEY"),
        ({"URL": HUSH, "KEY": "hush"}, "a key of at least 16 bytes"),
        ({"URL": HUSH.replace("https", "http"), "KEY": "k" * 16}, "an https:// URL"),
        ({"URL": "hush", "KEY": "k" * 16}, "an https:// URL"),
        ({"URL": "https://h:hush", "KEY": "k" * 16}, "expected a URL"),
    ],
)
def test_what_is_not_there_is_said(tmp_path: Path, environment: dict[str, str], said: str) -> None:
    """By the name of its variable, never by what it holds."""
    route = made(tmp_path, GOOD).routes["pager"]
    with pytest.raises(ConfigError) as caught:
        resolve_target(route, environment)
    assert said in str(caught.value)
    assert "hush" not in str(caught.value)


def test_a_secret_may_be_in_a_file(tmp_path: Path) -> None:
    """With or without a newline behind it; without the file, its name is told."""
    file = tmp_path / "url"
    route = made(tmp_path, SLACK.format(file=file)).routes["desk"]
    with pytest.raises(ConfigError, match="a readable file at"):
        resolve_target(route)
    file.write_text("\n")
    with pytest.raises(ConfigError, match="something in the file"):
        resolve_target(route)
    file.write_text(HUSH + "\n")
    assert resolve_target(route).url == HUSH
    assert resolve_target(route).host == "hooks.example"
    assert "hush" not in repr(resolve_target(route))


def test_certificates_must_be_there(tmp_path: Path) -> None:
    """A file that holds none is told at the start."""
    route = made(tmp_path, GOOD + 'ca_file = "/nowhere"').routes["pager"]
    with pytest.raises(ConfigError, match="a file of certificates"):
        resolve_target(route, {"URL": HUSH, "KEY": "k" * 16})


def test_the_check_of_the_rules_covers_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Good ones are counted, and who hears of nothing is noted; a bad one ends it."""
    folder = tmp_path / "rules"
    folder.mkdir()
    for path in paths.rules_folder().iterdir():
        if path.name not in ("models", "fixtures"):
            (folder / path.name).write_bytes(path.read_bytes())
        else:
            (folder / path.name).symlink_to(path)
    (folder / NOTIFY).write_text(GOOD + 'match = [{severity = ["HALT"]}]')
    missing = CliRunner().invoke(app, ["rules", "check", str(folder)])
    assert "a value in the variable URL" in str(missing.exception)
    monkeypatch.setenv("URL", HUSH)
    monkeypatch.setenv("KEY", "k" * 16)
    shown = CliRunner().invoke(app, ["rules", "check", str(folder)])
    assert "notify.toml: 1 routes" in shown.stdout
    assert "note: no route takes every REDUCE: some of them may reach nobody" in shown.stdout
    assert "every HALT" not in shown.stdout
    (folder / NOTIFY).write_text(GOOD + "tries = 99")
    refused = CliRunner().invoke(app, ["rules", "check", str(folder)])
    assert isinstance(refused.exception, ConfigError)


def test_the_doctor_looks_at_routes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where each leads, by its host; what this process does not have; that there are none."""

    def look() -> list[tuple[str, str]]:
        given = ProcessSettings(config=tmp_path)
        return [(f.check, f.status) for f in doctor.findings(given, Facts())]

    assert look() == [("routes", "ok")]
    made(tmp_path, GOOD)
    assert look() == [("route pager", "warn")]
    monkeypatch.setenv("URL", HUSH)
    monkeypatch.setenv("KEY", "k" * 16)
    assert look() == [("route pager", "ok")]
    (tmp_path / NOTIFY).write_text("[routes")
    assert look() == [("routes", "fail")]


def test_the_doctor_looks_at_what_did_not_arrive(engine: Engine) -> None:
    """What waits for long, and what was given up within a day."""
    office, now = Office(engine), datetime.now(UTC)
    waits, dead = told("asset:A"), told("asset:B")
    office.queue(waits, dead)

    def look(after: timedelta) -> tuple[str, str]:
        with engine.connect() as conn:
            found = doctor.undelivered_findings(conn, now + after)
        return found.status, found.seen

    assert look(timedelta(minutes=1))[0] == "ok"
    notifications.give_up(engine, office.epoch, dead.id, now, "HTTP 500")
    assert look(timedelta(minutes=1)) == (
        "warn", "0 wait for more than 5 minutes, 1 were given up in a day",
    )  # fmt: skip
    assert look(timedelta(days=2)) == (
        "warn", "1 wait for more than 5 minutes, 0 were given up in a day",
    )  # fmt: skip


@pytest.mark.parametrize(
    "error",
    [
        httpx.ConnectError(f"no way to {HUSH} at all"),
        httpx.RemoteProtocolError("it answered /T0PSECRET?token=hush with noise"),
        httpx.ReadTimeout(HUSH),
        httpx.ConnectError(""),
        OSError("/T0PSECRET"),
    ],
)
def test_a_failure_is_told_without_what_is_secret(tmp_path: Path, error: Exception) -> None:
    """Whatever a library puts into its words: kind and host are enough."""
    route = made(tmp_path, GOOD).routes["pager"]
    said = _failure_text(error, resolve_target(route, {"URL": HUSH, "KEY": "k" * 16}))
    assert said.startswith(type(error).__name__)
    assert "T0PSECRET" not in said
    assert "hush" not in said
