"""Commands of operators from the command line, applied to an embedded database."""

from __future__ import annotations

import json
import shutil
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from riskwatch.cli import app
from riskwatch.config import paths
from riskwatch.config.config import load_operators
from riskwatch.contracts.codec import decode, encode
from riskwatch.contracts.signing import Ed25519Verifier
from riskwatch.core.command_signing import command_bytes
from riskwatch.core.events import Command, Peg
from riskwatch.errors import ConfigError, RiskwatchError, SigningError
from tests.support.risk import START

if TYPE_CHECKING:
    from pathlib import Path

    from typer.testing import Result

SCOPE = "asset:USDC"
AT = START.isoformat()


class Office:
    """A folder with rules, keys of two supervisors and a database."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        shutil.copytree(paths.rules_folder(), folder, dirs_exist_ok=True)
        self.env = {
            "RISKWATCH_CONFIG": str(folder),
            "RISKWATCH_DATABASE": f"sqlite:///{folder / 'x.db'}",
            "RISKWATCH_KAFKA": "",
            "COLUMNS": "250",
        }
        for name in ("ann", "bob"):
            public = self.run("operator", "keygen", "--key", self.key(name)).stdout.strip()
            self.run("operator", "add", name, "--role", "supervisor", "--public-key", public)
        self.sent = 0

    def key(self, name: str) -> str:
        """Return a key file."""
        return str(self.folder / f"{name}.pem")

    def run(self, *args: str, name: str = "ann") -> Result:
        """Run a command as an operator."""
        env = {
            **self.env,
            "RISKWATCH_OPERATOR": name,
            "RISKWATCH_OPERATOR_KEY": self.key(name),
        }
        return CliRunner().invoke(app, list(args), env=env)

    def turn(self, *args: str, name: str = "ann") -> Result:
        """Sign a command to a file, and replay the file."""
        out = self.folder / f"{self.sent}.ndjson"
        self.sent += 1
        at = (START + timedelta(seconds=self.sent)).isoformat()
        done = self.run(
            "killswitch", *args, "--reason", "try", "--out", str(out), "--at", at, name=name
        )
        assert done.exit_code == 0, (done.output, done.exception)
        return self.run("replay", str(out))

    def history(self) -> list[dict[str, str]]:
        """Return the outcomes, the oldest first."""
        lines = self.run("killswitch", "history", "--json").stdout.splitlines()
        return [json.loads(line) for line in reversed(lines)]

    def state(self) -> dict[str, str]:
        """Return the state of the scope."""
        lines = self.run("killswitch", "status", "--json").stdout.splitlines()
        (found,) = [row for row in map(json.loads, lines) if row["scope"] == SCOPE]
        return dict(found)


def opened(folder: Path) -> Office:
    """Return an office with a valuation of one peg in its database."""
    made = Office(folder)
    peg = Peg(
        v=1, event_id="1", ts=START, source="oracle", asset="USDC", venue="oracle",
        price=Decimal(1),
    )  # fmt: skip
    (folder / "peg.ndjson").write_bytes(encode(peg) + b"\n")
    assert made.run("replay", str(folder / "peg.ndjson")).exit_code == 0
    return made


@pytest.fixture
def office(tmp_path: Path) -> Office:
    """Return an office for one test."""
    return opened(tmp_path)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Office:
    """Return an office that no test changes."""
    return opened(tmp_path_factory.mktemp("office"))


def test_a_halt_and_its_release_by_two(office: Office) -> None:
    """One supervisor halts, one requests the release, and the other approves it."""
    office.turn("halt", SCOPE)
    assert (office.state()["effective"], office.state()["effect"]) == ("HALT", "unknown")
    status = office.run("killswitch", "status").stdout
    assert "nothing proves that the HALT took effect" in status
    office.turn("release", SCOPE, "--yes")
    assert office.state()["people"]["request_by"] == "ann"  # type: ignore[index]
    office.turn("approve", SCOPE, "--yes", name="bob")
    assert office.state()["effective"] == "NORMAL"
    came = [(h["operator"], h["action"], h["outcome"]) for h in office.history()]
    assert came == [
        ("ann", "halt", "applied"),
        ("ann", "release", "requested"),
        ("bob", "approve", "approved"),
    ]
    assert {h["deployment"] for h in office.history()} == {"embedded"}
    assert "embedded" in office.run("killswitch", "history").stdout
    assert "asset:USDC" in office.run("killswitch", "status", "--details").stdout


def test_a_drill_that_nobody_listened_to(office: Office) -> None:
    """Without a broker the drill is recorded and not evaluated, and no state changes."""
    office.turn("drill", "--scope", SCOPE)
    (shown,) = office.run("killswitch", "drills", "--json").stdout.splitlines()
    drill = json.loads(shown)
    assert (drill["scope"], drill["person"], drill["outcome"]) == (SCOPE, "ann", "")
    assert "not judged" in office.run("killswitch", "drills").stdout
    assert office.run("killswitch", "status", "--json").stdout == ""
    assert [h["outcome"] for h in office.history()] == ["applied"]
    bad = office.run("killswitch", "drill", "--scope", "usdc", "--reason", "r")
    assert isinstance(bad.exception, ConfigError)


def test_a_release_first_shows_what_it_will_do(office: Office) -> None:
    """Without --yes it only shows the effect."""
    office.turn("halt", "firm")
    office.turn("halt", SCOPE)
    done = office.run("killswitch", "release", SCOPE, "--out", "-", "--at", AT)
    assert done.exit_code == 0
    assert done.stdout == ""
    for words in (
        "asset:USDC is HALT; released, it would be NORMAL",
        "allowed again: orders that buy or sell USDC",
        "gross 0.00 USD",
        "halted by ann: try",
        "no rule asks for HALT",
        "still in the way: firm is HALT",
        "nothing was sent",
    ):
        assert words in done.stderr
    shown = office.run("killswitch", "release", SCOPE, "--json")
    assert json.loads(shown.stderr.splitlines()[0])["after"] == "NORMAL"


def test_what_is_written_is_signed(shared: Office) -> None:
    """Standard output is one line, signed by the operator."""
    done = shared.run(
        "killswitch", "silence", SCOPE, "--for", "1h", "--reason", "r", "--out", "-", "--at", AT
    )
    made = decode(done.stdout.encode())
    assert isinstance(made, Command)
    assert made.args == {"until": "2023-03-11T01:00:00Z"}
    verifier = Ed25519Verifier(load_operators(shared.folder))
    ann = verifier.operator("ann")
    assert ann is not None
    assert verifier.verify(ann, command_bytes(made), made.signature)


def test_every_command_is_signed_for_what_it_says(shared: Office) -> None:
    """Action, scope and arguments are those that the worker reads."""
    cases = {
        ("retire", SCOPE, "--yes"): ("retire", SCOPE, None),
        ("acknowledge", SCOPE): ("acknowledge", SCOPE, None),
        ("silence", SCOPE, "--end"): ("silence", SCOPE, {"end": True}),
        ("unwind", SCOPE, "--for", "30m", "--max-usd", "10"): (
            "unwind", SCOPE, {"until": "2023-03-11T00:30:00Z", "max_usd": "10"},
        ),
        ("override", SCOPE, "--for", "1h", "--yes"): (
            "override", SCOPE, {"until": "2023-03-11T01:00:00Z", "state": "REDUCE"},
        ),
        ("approve", SCOPE, "--request", "ab", "--yes"): ("approve", SCOPE, {"request": "ab"}),
        ("set-limit", "usdc", "--scope", SCOPE, "--hard-usd", "5"): (
            "set_limit", SCOPE, {"limit": "usdc", "hard_usd": "5"},
        ),
        ("drill", "--scope", SCOPE, "--expect", "b", "--expect", "a"): (
            "drill", SCOPE, {"expect": ["a", "b"]},
        ),
        ("rebase",): ("rebase", "firm", None),
        ("promote", "t", "g", "--to", "full"): (
            "promote", "firm", {"target": "t", "generation": "g", "to": "full"},
        ),
        ("demote", "t", "g", "--to", "shadow"): (
            "demote", "firm", {"target": "t", "generation": "g", "to": "shadow"},
        ),
    }  # fmt: skip
    for args, expected in cases.items():
        done = shared.run("killswitch", *args, "--reason", "r", "--out", "-", "--at", AT)
        made = decode(done.stdout.encode())
        assert isinstance(made, Command), (args, done.output)
        assert (made.action, made.scope, made.args) == expected


@pytest.mark.parametrize(
    ("args", "error", "why"),
    [
        (("halt", "usdc", "--reason", "r"), ConfigError, "firm, book:X"),
        (("release", SCOPE, "--yes"), ConfigError, "--reason"),
        (("silence", SCOPE, "--reason", "r"), ConfigError, "either --for or --end"),
        (("silence", SCOPE, "--reason", "r", "--for", "soon"), ConfigError, "a duration"),
        (("approve", SCOPE, "--yes", "--reason", "r"), RiskwatchError, "nothing on asset:USDC"),
        (("halt", SCOPE, "--reason", "r", "--at", "soon"), ConfigError, "RFC 3339"),
        (
            ("halt", SCOPE, "--reason", "r", "--at", AT, "--kafka", "x:1"),
            ConfigError,
            "live, the clock counts",
        ),
        (("halt", SCOPE, "--reason", "r", "--key", "nowhere.pem"), SigningError, "cannot be read"),
    ],
)
def test_mistakes_are_one_line(
    shared: Office, args: tuple[str, ...], error: type[Exception], why: str
) -> None:
    """The error states what was expected, before anything is signed or sent."""
    done = shared.run("killswitch", *args)
    assert isinstance(done.exception, error)
    assert why in str(done.exception)
    assert done.stdout == ""


def test_a_key_that_others_can_read_is_not_used(office: Office) -> None:
    """A key that others can read is refused."""
    (office.folder / "ann.pem").chmod(0o644)
    done = office.run("killswitch", "halt", SCOPE, "--reason", "r")
    assert isinstance(done.exception, SigningError)
    assert "mode 0644" in str(done.exception)


def test_keys_are_made_for_their_owner(office: Office) -> None:
    """A key has mode 0600, and no file is overwritten."""
    path = office.folder / "new.pem"
    assert office.run("operator", "keygen", "--key", str(path)).exit_code == 0
    assert path.stat().st_mode & 0o777 == 0o600
    again = office.run("operator", "keygen", "--key", str(path))
    assert isinstance(again.exception, SigningError)


def test_operators_are_added_only_if_the_file_stays_good(office: Office) -> None:
    """A second operator of the same id or key leaves the file unchanged."""
    path = office.folder / "operators.toml"
    before = path.read_text()
    public = load_operators(office.folder).operators["ann"].public_key
    for name in ("ann", "carl"):
        args = ("operator", "add", name, "--role", "risk", "--public-key", public)
        assert isinstance(office.run(*args).exception, ConfigError)
    assert path.read_text() == before
    tom = ("operator", "add", "tom", "--role", "trader", "--public-key", "ab" * 32)
    assert isinstance(office.run(*tom).exception, ConfigError)
    assert office.run(*tom, "--book", "arb", "--full-name", 'T. "T"').exit_code == 0
    assert load_operators(office.folder).operators["tom"].name == 'T. "T"'
    listed = office.run("operator", "list", "--json").stdout.splitlines()
    assert [json.loads(line)["id"] for line in listed] == ["ann", "bob", "tom"]
    assert "supervisor" in office.run("operator", "list").stdout
