"""A HALT of a name that nobody knows: what the command line asks, and what it offers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from riskwatch.commands.killswitch import choose_scope, is_known, similar_scopes
from riskwatch.errors import ConfigError, RiskwatchError, SigningError
from riskwatch.store import queries
from tests.unit.commands.test_turning import AT, SCOPE, Office

if TYPE_CHECKING:
    from pathlib import Path

NAMES: Final = {
    "book": {"arb", "basis"},
    "counterparty": {"kraken", "binance"},
    "asset": {"USDC", "USDT", "BTC"},
}
HALT: Final = ("--reason", "r", "--kafka", "127.0.0.1:1", "--key", "nowhere.pem")
"""A live command that cannot be signed: one that gets to its key was about to be sent."""


@pytest.mark.parametrize(
    ("scope", "near"),
    [
        ("asset:usdc", ["asset:USDC", "asset:USDT"]),
        ("counterparty:Krakn", ["counterparty:kraken"]),
        ("counterparty:arb", ["book:arb"]),
        ("venue-asset:krakn/usdc", ["venue-asset:kraken/USDC", "venue-asset:kraken/USDT"]),
        ("book:nothing-like-it", []),
    ],
)
def test_similar_names_are_offered(scope: str, near: list[str]) -> None:
    """By spelling, whatever the case, and the same name of another kind; all of them are known."""
    assert not is_known(scope, NAMES)
    assert similar_scopes(scope, NAMES) == near
    assert all(is_known(each, NAMES) for each in near)


@pytest.mark.parametrize(
    ("key", "chosen"),
    [
        ("1", "asset:USDC"),
        ("f", "firm"),
        ("F", "firm"),
        ("s", "asset:usdc"),
        ("q", None),
        ("\r", None),
    ],
)
def test_one_key_decides(key: str, chosen: str | None, capsys: pytest.CaptureFixture[str]) -> None:
    """A known name, the firm, the name as given, or nothing."""
    assert choose_scope("asset:usdc", ["asset:USDC"], lambda: key) == chosen
    shown = capsys.readouterr().err
    assert "1  did you mean asset:USDC?" in shown
    assert "f  HALT of the whole firm" in shown


def test_an_unknown_name_is_not_sent_without_yes(tmp_path: Path) -> None:
    """Without a person the command ends and names what was meant; --yes and known names go."""
    office = Office(tmp_path)
    office.turn("halt", SCOPE)
    done = office.run("killswitch", "halt", "asset:USDCC", *HALT)
    assert isinstance(done.exception, RiskwatchError)
    message = str(done.exception)
    assert "nothing was sent: nobody holds, quotes or lists asset:USDCC" in message
    assert "Did you mean asset:USDC" in message
    assert "--yes sends it as it is" in message
    assert "killswitch halt firm" in message
    for scope in (("asset:USDCC", "--yes"), (SCOPE,), ("firm",)):
        sent = office.run("killswitch", "halt", *scope, *HALT)
        assert isinstance(sent.exception, SigningError), scope


def test_a_halt_waits_for_no_database(tmp_path: Path) -> None:
    """Where names cannot be looked up, the HALT goes as given."""
    office = Office(tmp_path)
    done = office.run("killswitch", "halt", "asset:usdc", *HALT)
    assert "cannot be looked up" in done.stderr
    assert isinstance(done.exception, SigningError)


def test_known_names_come_from_what_is_listed_and_halted(tmp_path: Path) -> None:
    """Reference data lists names, and so does a switch that stands."""
    office = Office(tmp_path)
    office.turn("halt", "venue-asset:newvenue/NEWCOIN")
    office.turn("halt", "book:night")
    with queries.open_reader(office.env["RISKWATCH_DATABASE"]) as conn:
        names = queries.known_names(conn)
    assert {"USDC", "NEWCOIN"} <= names["asset"]
    assert "newvenue" in names["counterparty"]
    assert names["book"] == {"night"}


@pytest.mark.parametrize("reason", ["two\nlines", "\u202etxt", "tab\there", "a\x1b[2J", "\u3164"])
def test_a_reason_with_hidden_characters_is_not_signed(tmp_path: Path, reason: str) -> None:
    """The command line refuses it before anything is written, and names the character."""
    office = Office(tmp_path)
    out = tmp_path / "out.ndjson"
    done = office.run(
        "killswitch", "halt", SCOPE, "--reason", reason, "--out", str(out), "--at", AT
    )
    assert isinstance(done.exception, ConfigError)
    assert "reason must not hold the character U+" in str(done.exception)
    assert not out.exists()


@pytest.mark.parametrize(
    "scope", ["asset:USD\u0421", "book:\u0441\u043e", "venue-asset:kr\u0430ken/USDC"]
)
def test_a_scope_that_looks_like_another_is_refused(tmp_path: Path, scope: str) -> None:
    """Mixed scripts, and letters that only look Latin, are no scope."""
    done = Office(tmp_path).run(
        "killswitch", "halt", scope, "--reason", "r", "--out", "-", "--at", AT
    )
    assert isinstance(done.exception, ConfigError)
    assert "in one script" in str(done.exception)


def test_an_operator_that_looks_like_another_is_refused(tmp_path: Path) -> None:
    """`operators.toml` holds no name in mixed scripts."""
    office = Office(tmp_path)
    public = office.run("operator", "keygen", "--key", office.key("eve")).stdout.strip()
    done = office.run("operator", "add", "\u0430nn", "--role", "risk", "--public-key", public)
    assert isinstance(done.exception, RiskwatchError)
    assert "one script" in str(done.exception)
