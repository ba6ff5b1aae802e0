"""A short history of market data with signed commands of every action among the events.

Among them are a HALT that is copied after its release, a forged release, and commands that their
operators may not give.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from msgspec.structs import replace

from riskwatch.config.config import digest
from riskwatch.contracts.codec import encode
from riskwatch.core.clock import MINUTE, micros
from riskwatch.core.events import Balance, Command, Credit, Event, Quote, Tick
from riskwatch.core.outputs import CommandApplied, CommandRefused
from riskwatch.engine import bootstrap
from riskwatch.engine.clock import TickGrid
from riskwatch.engine.pipeline import Effects
from tests.support.people import OPERATORS, command, until
from tests.support.risk import START

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from riskwatch.config.config import Config
    from riskwatch.core.events import WireEvent

    Making = Callable[[dict[str, str]], Command]

MINUTES: Final = 34
USDC, BTC, KRAKEN, BOOK, DESK = (
    "asset:USDC", "asset:BTC", "counterparty:kraken", "book:mm", "book:arb",
)  # fmt: skip
TARGET, GENERATION = "depeg(discount 50bp, 1h)", "anchored"


@dataclass
class History:
    """Lines of a file, and what an undisturbed run answers to its commands.

    Attributes
    ----------
    lines : list of bytes
        Events in order of time.
    answers : dict of str to (str, str)
        Action and answer (the outcome, or the refusal) of each command, by the bytes that are
        found in its entry of the journal and nowhere else: its event id.
    said : list of str
        All answers, in order: one message comes twice.
    """

    lines: list[bytes] = field(default_factory=list)
    answers: dict[str, tuple[str, str]] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)


def configuration() -> Config:
    """Return the shipped configuration, with operators whose keys the tests have."""
    made = bootstrap.configuration()
    parts = (made.reference, made.limits, made.rules, made.policy, OPERATORS)
    return replace(made, operators=OPERATORS, digest=digest(*parts, names=made.names))


def public(cls: Any, minutes: float, **fields: Any) -> Any:
    """Return an event of a feed."""
    name = f"{cls.__name__.lower()}-{minutes}-{'-'.join(str(v) for v in fields.values())}"
    ts = START + timedelta(minutes=minutes)
    return cls(v=1, event_id=name[:120], ts=ts, source="court", **fields)


def facts() -> Iterator[WireEvent]:
    """Return market data and balances: a coin that falls and recovers, a fall of BTC, bad news."""
    for venue, asset, free in (
        ("kraken", "BTC", 5), ("kraken", "USDC", 90_000), ("coinbase", "USDC", 50_000),
    ):  # fmt: skip
        yield public(
            Balance, 0.0, counterparty=venue, account="main", book="mm", asset=asset,
            free=Decimal(free),
        )  # fmt: skip
    for minute in range(MINUTES):
        btc = 20_000 if minute < 12 else 19_000
        for n, venue in enumerate(("kraken", "coinbase", "bitstamp")):
            for base, price in (("USDC", Decimal("0.9999")), ("BTC", Decimal(btc + n))):
                yield public(
                    Quote, minute + 0.1, venue=venue, base=base, quote="USD", last=price,
                    volume=Decimal(1_000),
                )  # fmt: skip
        if minute == 13:
            yield public(Credit, 13.2, subject="kraken", kind="insolvency")


def ask(
    name: str, operator: str, action: str, minutes: float, scope: str, **fields: Any
) -> tuple[float, Making]:
    """Return when a command is given, and how it is made; `name` is its key.

    A field ``@name`` is the request that the command `name` made.
    """

    def make(asked: dict[str, str]) -> Command:
        given: dict[str, Any] = {
            k: asked[v[1:]] if str(v)[:1] == "@" else v for k, v in fields.items()
        }
        return command(operator, action, minutes, scope, key=name, **given)

    return minutes, make


_HALT: Final = ask("halt", "rita", "halt", 3.5, USDC)
COMMANDS: Final = (
    ask("drill", "rita", "drill", 1.5, "firm"),
    ask("tighten", "ann", "set_limit", 2.5, KRAKEN, limit="kraken", hard_usd="5000000"),
    ask("foreign", "tom", "halt", 3.2, USDC),
    _HALT,
    (3.65, _HALT[1]),
    ask("forged", "ann", "release", 3.6, USDC, by="tom"),
    ask("halt", "rita", "halt", 3.7, USDC),
    ask("seen", "rita", "acknowledge", 4.5, USDC),
    ask("unwind", "ann", "unwind", 4.6, USDC, until=until(10), max_usd="20000"),
    ask("raise", "ann", "set_limit", 5.5, KRAKEN, limit="kraken", hard_usd="8000000"),
    ask("raise-2", "bob", "approve", 6.5, KRAKEN, request="@raise"),
    ask("quiet", "rita", "silence", 6.6, BTC, until=until(30)),
    ask("release", "ann", "release", 7.5, USDC),
    ask("alone", "ann", "approve", 7.6, USDC, request="@release"),
    ask("release-2", "bob", "approve", 9.5, USDC, request="@release"),
    ask("desk", "tom", "halt", 10.5, DESK),
    ask("retire", "ann", "retire", 11.5, DESK),
    (12.5, _HALT[1]),
    ask("override", "ann", "override", 15.5, KRAKEN, until=until(22)),
    ask("override-2", "bob", "approve", 16.5, KRAKEN, request="@override"),
    ask("rebase", "ann", "rebase", 17.5, "firm"),
    ask("rebase-2", "bob", "approve", 18.5, "firm", request="@rebase"),
    ask("aloud", "rita", "silence", 19.5, BTC, end=True),
    ask("demote", "ann", "demote", 20.5, "firm", target=TARGET, generation=GENERATION, to="shadow"),
    ask("promote", "bob", "promote", 21.5, "firm", target=TARGET, generation=GENERATION,
        to="advisory"),
    ask("book", "rita", "halt", 23.5, BOOK),
    ask("late", "bob", "release", 24.5, BOOK),
    ask("late-2", "ann", "approve", 28.5, BOOK, request="@late"),
)  # fmt: skip

HALTS: Final = {
    "e-rita-halt-3.5": "e-bob-release-2-9.5",
    "e-rita-book-23.5": "e-ann-late-2-28.5",
}
"""People's HALTs by the approval of their release, event ids."""


def history() -> History:
    """Return the history. A pipeline in memory runs it, to know the ids of the requests."""
    made = History()
    asked: dict[str, str] = {}
    stages, effects, grid = bootstrap.pipeline(configuration()), Effects(), TickGrid(MINUTE)
    plan: list[tuple[float, WireEvent | Making]] = [
        *(((event.ts - START).total_seconds() / 60, event) for event in facts()),
        *COMMANDS,
    ]
    for _, each in sorted(plan, key=lambda placed: placed[0]):
        event = each if isinstance(each, Event) else each(asked)
        for us in grid.before(micros(event.ts)):
            stages.apply(Tick(us), effects)
        effects.outputs.clear()
        stages.apply(event, effects)
        made.lines.append(encode(event))
        if isinstance(event, Command):
            note_answer(event, effects.outputs, made, asked)
    return made


def note_answer(event: Command, outputs: list[Any], made: History, asked: dict[str, str]) -> None:
    """Note what was answered to a command, and the request that it made."""
    for said in outputs:
        if isinstance(said, CommandApplied):
            answer = said.outcome
            if said.request_id:
                asked.setdefault(event.idempotency_key, said.request_id)
        elif isinstance(said, CommandRefused):
            answer = said.refusal.value
        else:
            continue
        made.answers.setdefault(event.event_id, (event.action, answer))
        made.said.append(answer)


def write_history(path: Path) -> History:
    """Write the history into a file."""
    made = history()
    path.write_bytes(b"".join(line + b"\n" for line in made.lines))
    return made
