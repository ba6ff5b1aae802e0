"""For which deployment the command line signs, and that it says so."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from riskwatch.commands.sender import Sender
from riskwatch.contracts.codec import decode
from riskwatch.core.command_signing import command_bytes
from riskwatch.core.deployment import EMBEDDED, VARIABLE
from riskwatch.core.events import Command
from riskwatch.engine.replay import open_database
from riskwatch.errors import ConfigError, SigningError
from riskwatch.store import migrate
from riskwatch.store.deployment import current_deployment
from riskwatch.store.queries import open_reader
from tests.unit.commands.test_turning import AT, SCOPE, Office

if TYPE_CHECKING:
    from pathlib import Path


def sender(database: str = "sqlite:///none.db", **changes: Any) -> Sender:
    """Return the options of a command to a broker."""
    given = {
        "operator": "ann", "key": None, "kafka": "here:9092", "out": None, "at": None, "once": None,
        "named": None, "database": database, "wait": 0.0,
    }  # fmt: skip
    return Sender(**(given | changes))


@pytest.fixture
def url(tmp_path: Path) -> str:
    """Return a database of the workers."""
    made = f"sqlite:///{tmp_path / 'x.db'}"
    migrate.upgrade(made)
    return made


def test_the_database_says_for_which_deployment(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then the environment comes before it, and the option before both."""
    monkeypatch.delenv(VARIABLE, raising=False)
    with open_reader(url) as conn:
        own = current_deployment(conn).id
    assert sender(url).deployment == own
    monkeypatch.setenv(VARIABLE, "staging")
    assert sender(url).deployment == "staging"
    assert sender(url, named="prod").deployment == "prod"


def test_an_option_or_the_environment_needs_no_database(monkeypatch: pytest.MonkeyPatch) -> None:
    """A HALT waits for no database where one of them names the deployment."""
    monkeypatch.delenv(VARIABLE, raising=False)
    with pytest.raises(SigningError, match=r"--deployment or RISKWATCH_DEPLOYMENT; the database"):
        _ = sender().deployment
    assert sender(named="prod").deployment == "prod"
    monkeypatch.setenv(VARIABLE, "prod")
    assert sender().deployment == "prod"


def test_a_database_of_replays_names_no_deployment_for_a_broker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No live worker would accept the command."""
    monkeypatch.delenv(VARIABLE, raising=False)
    url = f"sqlite:///{tmp_path / 'replayed.db'}"
    with open_database(url):
        pass
    with pytest.raises(SigningError, match="a database of replays has no workers"):
        _ = sender(url).deployment


def test_a_file_for_a_replay_is_for_no_live_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the environment names a deployment; the option names one for a file, too."""
    monkeypatch.setenv(VARIABLE, "prod")
    assert sender(out="-").deployment == EMBEDDED
    assert sender(kafka=None).deployment == EMBEDDED
    assert sender(out="-", named="prod").deployment == "prod"


@pytest.mark.parametrize("bad", ["Prod", "a b", "x" * 41])
def test_a_deployment_that_is_none_is_not_signed(bad: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message names the option or the variable; the reserved id goes to no broker."""
    with pytest.raises(ConfigError, match="--deployment: expected 1 to 40"):
        _ = sender(named=bad).deployment
    monkeypatch.setenv(VARIABLE, bad)
    with pytest.raises(ConfigError, match="RISKWATCH_DEPLOYMENT: expected 1 to 40"):
        _ = sender().deployment
    with pytest.raises(ConfigError, match="reserved"):
        _ = sender(named=EMBEDDED).deployment


def test_what_is_signed_names_the_deployment(tmp_path: Path) -> None:
    """In the command, in its signed bytes and on stderr."""
    office = Office(tmp_path)
    for named, option in ((EMBEDDED, ()), ("prod", ("--deployment", "prod"))):
        out = tmp_path / f"{named}.ndjson"
        done = office.run(
            "killswitch", "halt", SCOPE, "--reason", "r", "--out", str(out), "--at", AT, *option
        )
        assert f"signed for deployment {named}" in done.stderr
        made = decode(out.read_bytes().rstrip(b"\n"))
        assert isinstance(made, Command)
        assert made.deployment == named
        assert named.encode() in command_bytes(made)
        replayed = office.run("replay", str(out))
        assert replayed.exit_code == 0
    outcomes = {(found["outcome"], found["refusal"]) for found in office.history()}
    assert outcomes == {("applied", None), ("refused", "DEPLOYMENT_FOREIGN")}
