"""``riskwatch init``: write the files of one's own that inherit from the shipped pack."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from riskwatch.config import paths
from riskwatch.config.config import LIMITS, REFERENCE, load
from riskwatch.config.toml import toml_string
from riskwatch.core.risk.limits import ANY_SUBJECT
from riskwatch.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from riskwatch.config.config import Config
    from riskwatch.core.reference import Reference

FIRM_SHARE: Final = 1.0
VENUE_SHARE: Final = 0.4
"""Largest limit of one venue, as a share of equity; of n venues 1.5 / n, if that is less."""
COIN_SHARE: Final = 0.25
BOOK_SHARE: Final = 0.4
OTHER_VENUE_SHARE: Final = 0.04
OTHER_SHARE: Final = 0.02
_MONEY: Final = "USD"


def init_command(
    directory: Annotated[Path, typer.Argument(help="Folder to write; made if absent.")] = Path(
        "rules"
    ),
    *,
    venue: Annotated[
        list[str] | None, typer.Option(help="A venue of yours; may be repeated.")
    ] = None,
    coin: Annotated[
        list[str] | None, typer.Option(help="A coin that you hold or trade; may be repeated.")
    ] = None,
    book: Annotated[list[str] | None, typer.Option(help="A book; may be repeated.")] = None,
    equity: Annotated[float | None, typer.Option(help="The firm's equity, USD.", min=1.0)] = None,
) -> None:
    """Write limits.toml and reference.toml of your own; both inherit from the shipped pack.

    What no option says is asked on a terminal. The limits are shares of the equity: a start, to
    be replaced by yours. Nothing is written unless the whole configuration can be used.
    """
    for name in (LIMITS, REFERENCE):
        if (directory / name).exists():
            raise ConfigError(str(directory), name, "a folder without this file, which is yours")
    venues = venue or _asked("--venue", "Venues, separated by spaces").split()
    coins = coin or _asked("--coin", "Coins, separated by spaces").split()
    amount = equity or _number(_asked("--equity", "The firm's equity, USD"))
    files = pack_files(venues, coins, book or [], amount)
    with tempfile.TemporaryDirectory() as trial:
        for name, text in files.items():
            (Path(trial) / name).write_text(text)
        config = load(Path(trial))
    directory.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (directory / name).write_text(text)
    typer.echo(f"wrote {', '.join(files)} in {directory}; everything else is inherited")
    for line in unknown_lines(config, venues, coins):
        typer.echo(line)
    typer.echo(f"next: riskwatch rules check --config {directory}")


def pack_files(
    venues: list[str], coins: list[str], books: list[str], equity: float
) -> dict[str, str]:
    """Return the texts of the files, by name.

    Parameters
    ----------
    venues, coins, books : list of str
        Names as events spell them.
    equity : float
        The firm's equity, USD.

    Raises
    ------
    ConfigError
        If there is no venue or coin.
    """
    if not venues:
        raise ConfigError("command line", "--venue", "at least one venue")
    if not coins:
        raise ConfigError("command line", "--coin", "at least one coin")
    shipped = load(paths.rules_folder())
    return {
        REFERENCE: _referencetoml_string(shipped.reference, venues, coins),
        LIMITS: _limitstoml_string(shipped, venues, coins, books, equity),
    }


def unknown_lines(config: Config, venues: list[str], coins: list[str]) -> Iterator[str]:
    """Say which names the shipped pack does not know, and what riskwatch assumes of them."""
    shipped = load(paths.rules_folder()).reference
    for name in dict.fromkeys(venues):
        if name not in shipped.parties:
            made = config.reference.party(name)
            yield (
                f"note: venue {name} is new: custody {made.custody}, rating {made.rating}, LGD "
                f"{made.lgd:g} are assumed in {REFERENCE}"
            )
    for name in dict.fromkeys(coins):
        if name not in shipped.assets:
            made_of = config.reference.asset(name)
            yield (
                f"note: coin {name} is new: no peg, no issuer and a volatility of "
                f"{made_of.volatility:g} are assumed in {REFERENCE}"
            )


def _referencetoml_string(known: Reference, venues: list[str], coins: list[str]) -> str:
    lines = [
        "# Venues and coins of the firm that the shipped pack does not have, or has otherwise.",
        'extends = "shipped"',
    ]
    for name in dict.fromkeys(coins):
        if name in known.assets:
            continue
        lines += [
            "",
            "# Assumed: a floating coin. Add peg, issuer and collateral if it has them.",
            f"[assets.{toml_string(name)}]",
            f"volatility = {known.default_asset.volatility}",
        ]
    for name in dict.fromkeys(venues):
        if name in known.parties:
            continue
        lines += [
            "",
            "# Assumed: what is assumed of a venue that nothing is known about.",
            f"[parties.{toml_string(name)}]",
            'kind = "exchange"',
            f"custody = {toml_string(known.default_party.custody)}",
            f"lgd = {known.default_party.lgd}",
            f"rating = {toml_string(known.default_party.rating)}",
        ]
    return "\n".join(lines) + "\n"


def _limitstoml_string(
    shipped: Config, venues: list[str], coins: list[str], books: list[str], equity: float
) -> str:
    made = list(_limits(shipped.reference, venues, coins, books))
    taken = {(kind, subject) for _, kind, subject, _ in made}
    known = {limit.id: limit for limit in shipped.limits.limits}
    named = {name for name, *_ in made}
    sample = [
        limit.id
        for limit in known.values()
        if limit.subject != ANY_SUBJECT and limit.id not in named
    ]
    assert len(taken) == len(made), "one limit for each subject"
    lines = [
        "# The firm's equity and limits, USD. Every amount is a share of the equity: replace it.",
        'extends = "shipped"',
        "# Limits of the sample firm of the shipped pack.",
        f"remove = [{', '.join(toml_string(f'limits.{each}') for each in sample)}]",
        "",
        f"equity_usd = {equity!r}",
    ]
    for name, kind, subject, share in made:
        lines += ["", "[[limits]]", f"id = {toml_string(name)}"]
        if name not in known:
            lines += [f"scope_kind = {toml_string(kind)}", f"subject = {toml_string(subject)}"]
        lines.append(f"hard_usd = {round(equity * share, 2)!r}")
    return "\n".join(lines) + "\n"


def _limits(
    known: Reference, venues: list[str], coins: list[str], books: list[str]
) -> Iterator[tuple[str, str, str, float]]:
    """Yield id, kind, subject and share of equity of each limit; none is above the firm's."""
    names = list(dict.fromkeys(venues))
    of_venue = min(VENUE_SHARE, 1.5 / len(names))
    yield "firm", "firm", ANY_SUBJECT, FIRM_SHARE
    yield "counterparty-any", "counterparty", ANY_SUBJECT, OTHER_VENUE_SHARE
    yield "group-any", "group", ANY_SUBJECT, of_venue
    yield "issuer-any", "issuer", ANY_SUBJECT, OTHER_SHARE
    yield "bank-any", "bank", ANY_SUBJECT, OTHER_VENUE_SHARE
    yield "asset-any", "asset", ANY_SUBJECT, OTHER_SHARE
    yield "book-any", "book", ANY_SUBJECT, OTHER_SHARE if books else BOOK_SHARE
    for venue in names:
        yield f"venue-{venue}", "counterparty", venue, of_venue
    for coin in dict.fromkeys((_MONEY, *coins)):
        yield f"coin-{coin}", "asset", coin, COIN_SHARE
    issuers = (known.asset(coin).issuer for coin in coins)
    for issuer in dict.fromkeys(each for each in issuers if each is not None):
        yield f"issuer-{issuer}", "issuer", issuer, COIN_SHARE
    for book in dict.fromkeys(books):
        yield f"book-{book}", "book", book, BOOK_SHARE


def _asked(option: str, question: str) -> str:
    """Return an answer from a terminal.

    Raises
    ------
    ConfigError
        If there is no terminal: it names the missing option.
    """
    if not typer.get_text_stream("stdin").isatty():
        raise ConfigError("command line", option, "a value, since there is no terminal to ask on")
    return str(typer.prompt(question))


def _number(text: str) -> float:
    try:
        return float(text.replace(",", "").replace("_", ""))
    except ValueError:
        raise ConfigError("command line", "--equity", "a number of USD", text) from None
