"""Limits that are loosened in files: what counts as looser, and whose signatures let it start."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from msgspec.structs import replace

from riskwatch.config.loosened import (
    LimitsSignature,
    append_signature,
    limits_digest,
    load_signatures,
    loosened_limits,
    require_signed,
    signed_bytes,
)
from riskwatch.config.recorder import config_content
from riskwatch.contracts.signing import Ed25519Verifier
from riskwatch.core.outputs import ConfigurationChanged
from riskwatch.core.reference import Limit, LimitsConfig
from riskwatch.core.risk.pretrade import ClientTerms, PretradeConfig
from riskwatch.engine import bootstrap
from riskwatch.errors import ConfigError
from tests.support.people import KEYS, OPERATORS
from tests.support.stored import Desk, history

if TYPE_CHECKING:
    from pathlib import Path

    from riskwatch.config.config import Config

RECORDED = datetime(2023, 3, 11, tzinfo=UTC)
GENERAL = Limit(id="any", scope_kind="counterparty", subject="*", hard_usd=1_000.0)
KRAKEN = Limit(id="kraken", scope_kind="counterparty", subject="kraken", hard_usd=500.0)


def config(*limits: Limit, pretrade: Any = msgspec.UNSET, **risk: Any) -> Config:
    """Return the shipped configuration with these limits and our operators."""
    shipped = bootstrap.configuration()
    policy = replace(shipped.policy, risk=replace(shipped.policy.risk, pretrade=pretrade, **risk))
    return replace(
        shipped,
        limits=LimitsConfig(equity_usd=1e6, limits=limits),
        operators=OPERATORS,
        policy=policy,
    )


def record(of: Config) -> ConfigurationChanged:
    """Return the record of a configuration."""
    return ConfigurationChanged(
        id="1", cause_id="1", ts=RECORDED, worker="risk", journal=1, digest="d", previous="",
        changes=[], content=config_content(of),
    )  # fmt: skip


def signature(
    of: Config, who: str, *, by: str = "", deployment: str = "prod", minutes: float = 5.0
) -> LimitsSignature:
    """Return a signature of the limits; `by` signs it if it is not the operator."""
    at = (RECORDED + timedelta(minutes=minutes)).isoformat()
    made = LimitsSignature(
        operator=who, digest=limits_digest(of), deployment=deployment, at=at, reason="a new venue"
    )
    return replace(made, signature=KEYS[by or who].sign(signed_bytes(made)).hex())


BEFORE = config(GENERAL, KRAKEN)
LOOSER = config(GENERAL, replace(KRAKEN, hard_usd=900.0))


@pytest.mark.parametrize(
    ("after", "said"),
    [
        (BEFORE, []),
        (config(GENERAL, replace(KRAKEN, hard_usd=400.0)), []),
        (config(replace(KRAKEN, hard_usd=499.0), GENERAL), []),
        (config(GENERAL, KRAKEN, replace(KRAKEN, id="firm", scope_kind="firm", subject="*")), []),
        (config(GENERAL, KRAKEN, replace(KRAKEN, id="okx", subject="okx", hard_usd=900.0)), []),
        (LOOSER, ["limit kraken hard_usd: 500.00 -> 900.00"]),
        (config(GENERAL), ["limit kraken is gone"]),
        (config(GENERAL, replace(KRAKEN, warning_share=0.9)),
         ["limit kraken warning_share: 0.8 -> 0.9"]),
        (config(GENERAL, replace(KRAKEN, subject="okx")),
         ["limit kraken is about counterparty okx"]),
        (config(GENERAL, KRAKEN, advisory=("kraken",)), ["limit kraken binds no more"]),
        (config(GENERAL, KRAKEN, replace(KRAKEN, id="okx", subject="okx", hard_usd=5e3)),
         ["limit okx takes okx out of any: 1,000.00 -> 5,000.00"]),
    ],
)  # fmt: skip
def test_what_counts_as_looser(after: Config, said: list[str]) -> None:
    """Higher, later, gone, about something else, advisory, or taken out of a stricter one."""
    assert loosened_limits(after, record(BEFORE)) == said
    assert loosened_limits(after, None) == []


def test_limits_before_the_trade_count_too() -> None:
    """A higher order value, a wider collar, a larger share, or none where there was one."""
    terms = PretradeConfig(clients={"desk": ClientTerms(share=0.5, counterparties=("kraken",))})
    before = record(config(GENERAL, pretrade=terms))
    wider = replace(
        terms, collar_bp=500.0, clients={"desk": ClientTerms(share=0.6, counterparties=())}
    )
    assert loosened_limits(config(GENERAL, pretrade=wider), before) == [
        "pretrade.collar_bp: 300 -> 500",
        "pretrade.clients.desk.share: 0.5 -> 0.6",
        "pretrade.clients.desk.counterparties: kraken -> all",
    ]
    tighter = replace(terms, max_order_usd=1_000.0, clients={"desk": ClientTerms(share=0.4,
                      counterparties=("kraken",))})  # fmt: skip
    assert loosened_limits(config(GENERAL, pretrade=tighter), before) == []
    assert "pretrade.max_order_usd: 250000 -> absent" in loosened_limits(config(GENERAL), before)


def require(given: tuple[LimitsSignature, ...], after: Config = LOOSER) -> list[str]:
    """Return who signed, after the limits of `BEFORE`."""
    verifier = Ed25519Verifier(after.operators)
    return require_signed(after, record(BEFORE), given, verifier, "prod")


def test_two_supervisors_let_it_start() -> None:
    """Both signed exactly these limits for this deployment after the last record."""
    assert require((signature(LOOSER, "ann"), signature(LOOSER, "bob"))) == ["ann", "bob"]
    assert require((), BEFORE) == []


@pytest.mark.parametrize(
    "second",
    [
        None,
        signature(LOOSER, "ann", minutes=6.0),
        signature(LOOSER, "rita"),
        signature(LOOSER, "old"),
        signature(LOOSER, "bob", by="ann"),
        signature(LOOSER, "bob", deployment="staging"),
        signature(LOOSER, "bob", minutes=-1.0),
        signature(config(GENERAL, replace(KRAKEN, hard_usd=901.0)), "bob"),
        replace(signature(LOOSER, "bob"), reason="another one"),
    ],
    ids=[
        "nobody", "the same person", "no supervisor", "disabled", "another key", "another place",
        "used up", "other limits", "another reason",
    ],
)  # fmt: skip
def test_any_other_second_signature_does_not(second: LimitsSignature | None) -> None:
    """The start is refused in one line that names what is looser and what to run."""
    given = (signature(LOOSER, "ann"), *([] if second is None else [second]))
    with pytest.raises(ConfigError) as caught:
        require(given)
    said = str(caught.value)
    assert "limit kraken hard_usd: 500.00 -> 900.00" in said
    assert "riskwatch rules sign --deployment prod" in said
    assert "only ann signed" in said
    assert "\n" not in said


def test_nobody_adds_the_second_signer_in_the_same_change() -> None:
    """A signer is an operator of the configuration that is in force, with the same key."""
    one = {name: who for name, who in OPERATORS.operators.items() if name != "bob"}
    before = record(replace(BEFORE, operators=replace(OPERATORS, operators=one)))
    given = (signature(LOOSER, "ann"), signature(LOOSER, "bob"))
    with pytest.raises(ConfigError, match="only ann signed"):
        require_signed(LOOSER, before, given, Ed25519Verifier(LOOSER.operators), "prod")


def test_signatures_stand_in_a_file(tmp_path: Path) -> None:
    """They are read as they were written, and a wrong time is named."""
    assert load_signatures(tmp_path) == ()
    made = (signature(LOOSER, "ann"), signature(LOOSER, "bob"))
    for each in made:
        append_signature(tmp_path, each)
    assert load_signatures(tmp_path) == made
    with pytest.raises(ConfigError, match=r"signatures\[2\].at"):
        append_signature(tmp_path, replace(made[0], at="yesterday"))


def test_two_people_sign_by_command(tmp_path: Path) -> None:
    """It shows what is looser, asks for a second supervisor, and refuses another person's key."""
    desk = Desk(tmp_path)
    who = partial(signer, desk)
    desk.replay(history())
    shown = desk.run("rules", "sign", *who("ann"), "--reason", "none is needed").stdout
    assert "nothing is looser" in shown
    limits = desk.rules / "limits.toml"
    limits.write_text(
        limits.read_text().replace("hard_usd = 9_000_000.0", "hard_usd = 9_500_000.0")
    )
    first = desk.run("rules", "sign", *who("ann"), "--reason", "a new venue").stdout
    assert "limit kraken hard_usd: 9,000,000.00 -> 9,500,000.00" in first
    assert "signed by ann; another supervisor must sign, too" in first
    other = desk.run("rules", "sign", "--operator", "bob", *who("ann")[2:], "--reason", "x",
                     fails=True)  # fmt: skip
    assert "is not the key of bob" in str(other.exception)
    assert "signed by ann, bob" in desk.run("rules", "sign", *who("bob"), "--reason", "ok").stdout
    assert [each.operator for each in load_signatures(desk.rules)] == ["ann", "bob"]


def signer(desk: Desk, name: str) -> tuple[str, ...]:
    """Return the options of a person; keys lie beside the rules."""
    return ("--operator", name, "--key", str(desk.folder / f"{name}.pem"))
