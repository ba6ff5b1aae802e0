"""The configuration: valid as a whole, or an error with file, key, expected and found value."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from riskwatch.config import consistency, paths
from riskwatch.config.config import digest, load
from riskwatch.config.toml import parse_duration
from riskwatch.core.enums import Cause, State
from riskwatch.errors import ConfigError, RiskwatchError

if TYPE_CHECKING:
    from pathlib import Path

REFERENCE: Final = """
[pd_by_rating]
AA = 0.001
BB = 0.02
unrated = 0.077

[assets]
USD = { fiat = true, volatility = 0.0 }
USDC = { peg = "USD", issuer = "circle", collateral = "fiat", prior_bp = 5 }
BNB = { issuer = "binance" }

[parties]
binance = { kind = "exchange", native_token = "BNB", lgd = 0.7, rating = "BB" }
svb = { kind = "bank", custody = "insured_deposit" }
bny = { kind = "bank", rating = "AA" }

[parties.circle]
kind = "issuer"
backing = [
  { holder = "svb", share = 0.08 },
  { holder = "bny", share = 0.1 },
]
"""
LIMITS: Final = """
equity_usd = 1_000_000

[[limits]]
id = "any"
scope_kind = "counterparty"
subject = "*"
hard_usd = 100_000.0
warning_share = 0.9

[[limits]]
id = "usdc"
scope_kind = "asset"
subject = "USDC"
hard_usd = 50_000.0
"""
STATIC: Final = """
[[rules]]
id = "asset.discount"
scope_kind = "asset"
state = "HALT"
any = [{ feature = "discount_bp", at = 100.0, unit = "bp" }]
unless_cause = ["feed", "venue"]
dwell_s = "5m"
observations = 3
exit = 0.5
exit_dwell_s = 90
text = "{scope}: {value:.0f} {unit}"
"""
POLICY: Final = """
[market]
vol_half_life_s = "1h30m"
confirm = 4

[ledger]
late_window_s = "15m"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder of five files that are right."""
    for name, text in (
        ("reference", REFERENCE),
        ("limits", LIMITS),
        ("static", STATIC),
        ("policy", POLICY),
        ("models", ""),
    ):
        (tmp_path / f"{name}.toml").write_text(text)
    return tmp_path


def test_everything_is_read(folder: Path) -> None:
    """Names become ids, words become enums, durations become seconds, the rest is defaults."""
    config = load(folder)
    assert config.reference.asset("USDC").prior_bp == 5.0
    assert config.reference.party("circle").backing[0].share == 0.08
    assert config.reference.party("nobody").rating == "unrated"
    assert [limit.warning_share for limit in config.limits.limits] == [0.9, 0.8]
    (rule,) = config.rules.rules
    assert (rule.state, rule.unless_cause) == (State.HALT, (Cause.FEED, Cause.VENUE))
    assert (rule.dwell_s, rule.exit_dwell_s, rule.any[0].at) == (300.0, 90.0, 100.0)
    assert (config.policy.market.vol_half_life_s, config.policy.market.confirm) == (5400.0, 4)
    assert config.policy.ledger.late_window_s == 900
    assert isinstance(config.policy.ledger.late_window_s, int)


BROKEN: Final = [
    # file, what to replace, by what, key, expected
    ("reference", "[assets]", "[assets", "", "valid TOML"),
    ("reference", "AA = 0.001", "AA = 0.0002", "pd_by_rating.AA", "from 0.0003 to 1.0"),
    ("reference", "BB = 0.02", "BB = 0.0005", "pd_by_rating.BB", "from best to worst"),
    ("reference", "BB = 0.02", "BB = nan", "pd_by_rating.BB", "a finite number"),
    ("reference", "unrated = 0.077", "", "pd_by_rating.unrated", "found none"),
    ("reference", "BNB = {", "BNB = { prior = 1,", "assets.BNB.prior", "one of id, peg"),
    ("reference", "BNB = {", "USDC = {", "", "valid TOML"),
    ("reference", "BNB = {", "'B B' = {", "assets.B B.id", "a name"),
    ("reference", "BNB = {", 'BNB = { id = "BNB",', "assets.BNB.id", "the table's name"),
    ("reference", 'issuer = "circle"', 'issuer = "x"', "assets.USDC.issuer", "one of the parties"),
    ("reference", 'peg = "USD"', 'peg = "BNX"', "assets.USDC.peg", "one of the assets"),
    ("reference", 'peg = "USD"', 'peg = "USDC"', "assets.USDC.peg", "does not promise this one"),
    ("reference", "BNB = {", "BNB = { accrues = true,", "assets.BNB.accrues", "a peg in which"),
    ("reference", "fiat = true", 'fiat = "yes"', "assets.USD.fiat", "bool"),
    ("reference", "fiat = true", 'fiat = true, peg = "USD"', "assets.USD.peg", "no peg"),
    ("reference", 'collateral = "fiat"', 'collateral = "f"', "assets.USDC.collateral", "one of"),
    ("reference", "prior_bp = 5", "prior_bp = 0", "assets.USDC.prior_bp", "above 0.0"),
    ("reference", "prior_bp = 5", "prior_bp = true", "assets.USDC.prior_bp", "float"),
    ("reference", "lgd = 0.7", "lgd = 1.7", "parties.binance.lgd", "from 0.0 to 1.0"),
    ("reference", "lgd = 0.7", "lgd = inf", "parties.binance.lgd", "a finite number"),
    ("reference", 'kind = "bank", c', 'kind = "b", c', "parties.svb.kind", "one of exchange"),
    ("reference", 'kind = "bank", c', "c", "parties.svb.kind", "a value"),
    ("reference", 'rating = "AA"', 'rating = "Aa"', "parties.bny.rating", "one of AA, BB"),
    ("reference", '"BNB", lgd', '"BNC", lgd', "parties.binance.native_token", "one of the assets"),
    ("reference", '"svb"', '"sbv"', "parties.circle.backing[0].holder", "another of the parties"),
    ("reference", '"svb"', '"circle"', "parties.circle.backing[0].holder", "another"),
    ("reference", '"svb"', '"bny"', "parties.circle.backing[1].holder", "each only once"),
    ("reference", "share = 0.1", "share = 0.93", "parties.circle.backing", "at most 1"),
    ("reference", "share = 0.1", "share = -0.1", "parties.circle.backing[1].share", "from 0.0"),
    ("limits", "equity_usd = 1_000_000", "", "equity_usd", "a value"),
    ("limits", "1_000_000", "-1", "equity_usd", "above 0.0"),
    ("limits", "hard_usd = 50_000.0", "hard_usd = 0", "limits[1].hard_usd", "above 0.0"),
    ("limits", "hard_usd = 50_000.0", 'hard_usd = "5"', "limits[1].hard_usd", "float"),
    ("limits", "share = 0.9", "share = 1.1", "limits[0].warning_share", "from 0.0 to 1.0"),
    ("limits", '"usdc"', '"any"', "limits[1].id", "each only once"),
    ("limits", '"asset"', '"coin"', "limits[1].scope_kind", "one of counterparty"),
    ("limits", '"asset"\nsubject = "USDC"', '"counterparty"\nsubject = "*"', "limits[1].subject",
     "has 'any' already"),
    ("limits", "[[limits]]", "[[limit]]", "limit", "one of equity_usd, limits"),
    ("static", "[[rules]]", "rules = []\n[[x]]", "rules", "at least one"),
    ("static", "at = 100.0", "at = 0.0", "rules[0].any[0].at", "above 0.0"),
    ("static", '"HALT"', '"STOP"', "rules[0].state", "one of NORMAL, WATCH, REDUCE, HALT"),
    ("static", '"HALT"', '"NORMAL"', "rules[0].state", "one of WATCH, REDUCE, HALT"),
    ("static", '"venue"]', '"venues"]', "rules[0].unless_cause[1]", "one of issuer"),
    ("static", '"5m"', '"soon"', "rules[0].dwell_s", "a duration such as '5m'"),
    ("static", "= 90", "= -90", "rules[0].exit_dwell_s", "zero or more"),
    ("static", "exit = 0.5", "exit = 1.0", "rules[0].exit", "between 0.0 and 1.0"),
    ("static", "observations = 3", "observations = 0", "rules[0].observations", "at least 1"),
    ("static", '"5m"\nobservations = 3', '"0s"\nobservations = 1', "rules[0].observations",
     "one bad price"),
    ("static", "{value:.0f}", "{valu}", "rules[0].text", "plain words"),
    ("static", "{value:.0f}", "{value", "rules[0].text", "plain words"),
    ("static", "any = [{", "any = [{ op = 1,", "rules[0].any[0].op", "one of feature, at, unit"),
    ("static", "any = [", "any = 5 # [", "rules[0].any", "an array"),
    ("policy", "[market]", "[markets]", "markets", "one of market, ledger"),
    ("policy", "confirm = 4", "confirm = 4.5", "market.confirm", "int"),
    ("policy", "confirm = 4", "stale_gaps = 0", "market.stale_gaps", "above 0.0"),
    ("policy", '"15m"', '"900.5s"', "ledger.late_window_s", "a duration"),
    ("policy", '"15m"', '"1s"', "ledger", "late_window_s must be at least"),
]  # fmt: skip


@pytest.mark.parametrize(("file", "old", "new", "key", "expected"), BROKEN)
def test_what_is_wrong_is_said(
    folder: Path, file: str, old: str, new: str, key: str, expected: str
) -> None:
    """One change in one file is one error with that file, the dotted key and what was expected."""
    path = folder / f"{file}.toml"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(ConfigError) as caught:
        load(folder)
    assert (caught.value.file, caught.value.key) == (path.name, key)
    assert expected in str(caught.value)


def test_the_first_error_in_file_order_is_raised(folder: Path) -> None:
    """Of a wrong type, an unknown key and a range, whichever stands first in the file is named."""
    path = folder / "limits.toml"
    text = path.read_text().replace("warning_share = 0.9", "warning_share = 2.0")
    path.write_text(text.replace("hard_usd = 50_000.0", 'hard = "x"'))
    with pytest.raises(ConfigError, match=r"limits\[0\]\.warning_share"):
        load(folder)


def test_a_syntax_error_says_where(folder: Path) -> None:
    """Line and column of what is not TOML are in the message."""
    (folder / "policy.toml").write_text("[market]\nconfirm = = 4\n")
    with pytest.raises(ConfigError, match=r"policy\.toml: expected valid TOML: .*line 2, column"):
        load(folder)


@pytest.mark.parametrize("name", ["reference", "limits", "static", "policy", "models"])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    """Every one of the five files is needed."""
    (folder / f"{name}.toml").unlink()
    with pytest.raises(ConfigError, match=rf"^{name}\.toml: expected a file at"):
        load(folder)


def test_bytes_that_are_not_text_are_refused(folder: Path) -> None:
    """TOML is UTF-8; anything else is one clear error."""
    (folder / "limits.toml").write_bytes(b"# \xff\n")
    with pytest.raises(ConfigError, match=r"limits\.toml: expected UTF-8, found 'byte 2'"):
        load(folder)


def test_a_folder_in_place_of_a_file_is_refused(folder: Path) -> None:
    """What cannot be read as a file is a ConfigError with the system's reason."""
    (folder / "limits.toml").unlink()
    (folder / "limits.toml").mkdir()
    with pytest.raises(ConfigError, match=r"a readable file at .*directory"):
        load(folder)


def test_the_digest_is_of_what_is_said(folder: Path) -> None:
    """Comments, order of keys and spelled-out defaults do not change it; a number does."""
    before = load(folder).digest
    path = folder / "static.toml"
    text = path.read_text().replace('"5m"', '"300s"').replace("observations = 3\n", "")
    path.write_text(f"# new\n{text}observations = 3\n")
    assert load(folder).digest == before
    path.write_text(path.read_text().replace("at = 100.0", "at = 101.0"))
    assert load(folder).digest != before
    assert len(before) == 64


def test_the_order_of_rules_is_part_of_the_digest(folder: Path) -> None:
    """Rules are tried in file order, so another order is another configuration."""
    config = load(folder)
    (rule,) = config.rules.rules
    other = type(rule)(id="b", scope_kind="asset", state=State.WATCH, any=rule.any)
    pack = type(config.rules)
    assert digest(pack(rules=(rule, other))) != digest(pack(rules=(other, rule)))


def test_an_unknown_subject_is_allowed_and_listed(folder: Path) -> None:
    """A limit on a name that nothing knows, and that looks like none, is kept and listed."""
    path = folder / "limits.toml"
    path.write_text(path.read_text().replace('subject = "USDC"', 'subject = "MYCOIN"'))
    config = load(folder)
    (line,) = consistency.unknown_subjects(config.limits, config.reference)
    assert "usdc" in line
    assert "'MYCOIN'" in line


def test_a_subject_that_looks_like_another_is_refused_unless_it_is_meant(folder: Path) -> None:
    """A misspelt subject would leave its name without a limit; `distinct` says that it is meant."""
    path = folder / "limits.toml"
    path.write_text(path.read_text().replace('subject = "USDC"', 'subject = "USDX"'))
    with pytest.raises(ConfigError) as caught:
        load(folder)
    assert (caught.value.key, caught.value.meant) == ("limits[1].subject", "USDC")
    reference = folder / "reference.toml"
    reference.write_text(f'distinct = ["USDX"]\n{reference.read_text()}')
    assert load(folder).limits.limits[1].subject == "USDX"


@pytest.mark.parametrize("text", ["", "5", "m", "5m5m", "5s1m", "-5m", "5 m", "5m ", "1e3s", "٣s"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    """A duration is numbers with units, largest first, and nothing else."""
    with pytest.raises(ValueError, match="not a duration"):
        parse_duration(text)


def test_the_source_tree_is_found(root: Path) -> None:
    """In a source tree the folders are those beside the package."""
    assert paths.rules_folder() == root / "rules"
    assert paths.migrations_folder() == root / "migrations"
    assert paths.streams_folder() == root / "streams"


def test_an_installation_reads_its_own(tmp_path: Path) -> None:
    """What travelled inside the package wins over what happens to lie beside it."""
    package = tmp_path / "riskwatch"
    for folder in (package / "_shipped" / "rules", tmp_path / "rules"):
        folder.mkdir(parents=True)
        (folder / "reference.toml").touch()
    assert paths._find("rules", package) == package / "_shipped" / "rules"
    (package / "_shipped" / "rules" / "reference.toml").unlink()
    assert paths._find("rules", package) == tmp_path / "rules"
    with pytest.raises(RiskwatchError, match="carries no migrations"):
        paths._find("migrations", package)
