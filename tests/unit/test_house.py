"""The rules of the house: names, one subject a file, no circles (CONTRIBUTING.md says why)."""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING, Final

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

RETIRED: Final = {
    "acker", "afford", "answered", "answering", "answers", "artefacts", "aside", "asker",
    "asking", "assessed", "attend", "beat", "begins", "belief", "broken", "cell", "census",
    "clockwork", "coherence", "commanded", "commit_told", "configured", "contest", "courier",
    "crash_book", "dealings", "decided", "deeper", "delivered", "desk", "dialled", "disposed",
    "dollars", "doubt", "draft", "drawn", "drillbook", "drilled", "emptied", "ended", "engaged",
    "fast_and_quietest", "fate", "folded", "given_up", "gone_on", "governor", "ground_of",
    "grounds", "happening", "hear", "heard", "herald", "inbound", "intake", "judge", "judged",
    "keeper", "kept", "ladder", "lane", "lanes", "lateness", "lesson", "letter", "letters",
    "listener", "live_through", "look", "looked", "looker", "looking", "loosens", "luck",
    "matured", "mirror_wire", "never_later", "newborn", "notice", "notices", "of_json",
    "of_shape", "opened", "orphaned", "overheard", "panel", "patience", "placement",
    "policy_check", "postponed", "prevailing", "proposed", "purse", "quarantined",
    "quietly_fastest", "redacted", "rederived", "rehearsal", "rehearse", "rejected", "remembered",
    "returnable", "roll", "ruling", "rung", "rungs", "said", "saying", "scene", "scheduled",
    "sending", "served", "settle", "shell", "shown", "signalled", "slipper", "spokesman",
    "squashed", "squasher", "stake", "stamped", "standing", "standing_faults", "stranger",
    "switched", "tape", "taped", "taught", "teacher", "tell", "teller", "telling", "told",
    "touching", "turned", "turner", "unheard", "unlearned", "unproven", "unsendable", "verdict",
    "vouched", "wanted", "watched", "went_on", "withdrawn",
}  # fmt: skip
"""Private vocabulary of earlier versions: no module and no public name of a module is called so."""

SAME_NAME: Final = {
    "BrokerError": "the client raises its own, which derives from the package's",
}
"""Classes that stand in two modules, and why."""

ONE_IMPORTER: Final = {
    "riskwatch.core.risk.plausibility": "it needs both exposures and the writer of alerts",
    "riskwatch.acks.boundary": "the boundary of the topic that clients write, tested alone",
    "riskwatch.acks.worker": "a process of its own; `riskwatch run` starts it",
    "riskwatch.alerting.consumer": "the Kafka side of the worker, tested without the rest",
    "riskwatch.alerting.resync": "the SQL side of a restart, tested without Kafka",
    "riskwatch.alerting.worker": "a process of its own; `riskwatch run` starts it",
    "riskwatch.audit.checkpoints": "called by one command, but no part of a command line",
    "riskwatch.audit.evidence": "called by one command, but no part of a command line",
    "riskwatch.audit.incident": "called by one command, but no part of a command line",
    "riskwatch.audit.verify": "called by one command, but no part of a command line",
    "riskwatch.bench.labels": "labels computed independently of the models' own book-keeping",
    "riskwatch.bench.page": "renders the HTML report; loaded only for it",
    "riskwatch.bench.plots": "SVG drawing is a subject apart from the page",
    "riskwatch.bench.policy_diff": "compares two runs, apart from the command that makes them",
    "riskwatch.bench.recordings": "schema of the recordings file, with its TOML beside it",
    "riskwatch.checks.feed": "public conformance kit",
    "riskwatch.checks.model_process": "runs as a process of its own, with another hash seed",
    "riskwatch.cli": "the entry point of the package",
    "riskwatch.config.spellings": "checks of one file, apart from the reader of all files",
    "riskwatch.client.deadman": "public class",
    "riskwatch.client.guard.deployment": "which messages are foreign, without clocks and tables",
    "riskwatch.client.guard.ack_publisher": "a thread of its own; imports Kafka",
    "riskwatch.client.guard.advisory": "terms that are tried, apart from those that bind",
    "riskwatch.client.guard.kafka_source": "one adapter a file; imports Kafka",
    "riskwatch.client.guard.naming": "pure names of orders, apart from threads and clocks",
    "riskwatch.client.guard.order_check": "pure decision, apart from threads and clocks",
    "riskwatch.client.guard.redis_source": "one adapter a file; imports Redis",
    "riskwatch.client.guard.switch": "public class, re-exported by riskwatch.client",
    "riskwatch.client.mirror": "public reader of the Redis mirror, used without a guard",
    "riskwatch.client.publish": "public class",
    "riskwatch.client.reducing": "public helper for order paths, imported by users",
    "riskwatch.commands.audit": "one command group; cli.py mounts each",
    "riskwatch.commands.bench": "one command group; cli.py mounts each",
    "riskwatch.commands.clients": "one command group; cli.py mounts each",
    "riskwatch.commands.config": "one command group; cli.py mounts each",
    "riskwatch.commands.data": "one command group; cli.py mounts each",
    "riskwatch.commands.demo": "one command group; cli.py mounts each",
    "riskwatch.commands.dlq": "one command group; cli.py mounts each",
    "riskwatch.commands.doctor": "one command group; cli.py mounts each",
    "riskwatch.commands.fit": "one command group; cli.py mounts each",
    "riskwatch.commands.history": "one command group; cli.py mounts each",
    "riskwatch.commands.init": "one command group; cli.py mounts each",
    "riskwatch.commands.killswitch": "one command group; cli.py mounts each",
    "riskwatch.commands.models": "one command group; cli.py mounts each",
    "riskwatch.commands.notify": "one command group; cli.py mounts each",
    "riskwatch.commands.operator": "one command group; cli.py mounts each",
    "riskwatch.commands.policy": "one command group; cli.py mounts each",
    "riskwatch.commands.preview": "what a release would do, tested without a terminal",
    "riskwatch.commands.publish": "one command group; cli.py mounts each",
    "riskwatch.commands.replay": "one command group; cli.py mounts each",
    "riskwatch.commands.rules": "one command group; cli.py mounts each",
    "riskwatch.commands.run": "one command group; cli.py mounts each",
    "riskwatch.commands.scenario": "one command group; cli.py mounts each",
    "riskwatch.commands.schema": "one command group; cli.py mounts each",
    "riskwatch.config.provenance": "where values come from, apart from how they are printed",
    "riskwatch.contracts.schema": "exports JSON Schema and AsyncAPI; only its command needs it",
    "riskwatch.contracts.webhook": "documented for receivers, who import verify",
    "riskwatch.core.risk.renames": "what one start in a table's life does, apart from every tick",
    "riskwatch.core.ledger.corrections": "checks of corrections, apart from the hot path of fills",
    "riskwatch.core.risk.effect": "judges halts by fills and orders, apart from rules",
    "riskwatch.core.alerting.dispatch": "when notifications are due; the notifier keeps alerts",
    "riskwatch.core.conflicts": "a tracker with rows of its own; the runner only asks it",
    "riskwatch.core.dedupe": "a data structure with rows of its own",
    "riskwatch.core.ledger.fills": "acting half of trades, and the hot path",
    "riskwatch.core.ledger.movements": "acting half of transfers",
    "riskwatch.core.ledger.report": "what a tick does; the stage only dispatches",
    "riskwatch.core.ledger.snapshots": "handlers of snapshots; the stage only dispatches",
    "riskwatch.core.ledger.stage": "a stage; the composition root alone wires it",
    "riskwatch.core.market.quality": "data-quality issues of feeds, one subject",
    "riskwatch.core.market.admission": "a bound of its own on what writers invent, tested alone",
    "riskwatch.core.market.solve": "pure numerics, tested alone",
    "riskwatch.core.market.stage": "a stage; the composition root alone wires it",
    "riskwatch.core.risk.advisory": "what binds nobody, apart from what binds",
    "riskwatch.core.risk.approvals": "requests of two people, one subject",
    "riskwatch.core.risk.commands": "the life of a command, one subject",
    "riskwatch.core.risk.evaluator": "the fixed order of an evaluation, one subject",
    "riskwatch.core.risk.grants": "the rule of grants with its proof, tested without a worker",
    "riskwatch.core.risk.stage": "a stage; the composition root alone wires it",
    "riskwatch.dashboard.plain_text": "plain-text renderer beside the terminal renderer",
    "riskwatch.dashboard.terminal": "terminal renderer; imports rich",
    "riskwatch.dashboard.view": "entry point of the package for the demo",
    "riskwatch.doctor": "the entry of the package; one command calls it",
    "riskwatch.doctor.broker": "one group of checks; doctor runs each in a thread",
    "riskwatch.doctor.local": "one group of checks; doctor runs each in a thread",
    "riskwatch.doctor.mirror": "one group of checks; doctor runs each in a thread",
    "riskwatch.doctor.store": "one group of checks; doctor runs each in a thread",
    "riskwatch.feeds.book": "pure order-book data structure",
    "riskwatch.feeds.corrupt": "user tool of docs/feeds.md, used by tests and notebooks",
    "riskwatch.feeds.orders": "one large format a file",
    "riskwatch.feeds.trial": "what the ledger makes of a file, tested without a terminal",
    "riskwatch.feeds.file_import": "the import of a file, tested without a terminal",
    "riskwatch.feeds.shapes.binance_statement": "one shape a file; the registry lists each",
    "riskwatch.feeds.shapes.binance_trades": "one shape a file; the registry lists each",
    "riskwatch.feeds.shapes.bitmex_wallet": "one shape a file; the registry lists each",
    "riskwatch.feeds.shapes.coinbase_fills": "one shape a file; the registry lists each",
    "riskwatch.feeds.shapes.coinbase_statement": "one shape a file; the registry lists each",
    "riskwatch.feeds.shapes.kraken_ledger": "one shape a file; the registry lists each",
    "riskwatch.feeds.shapes.kraken_trades": "one shape a file; the registry lists each",
    "riskwatch.feeds.shapes.aggregate_trades": "one shape a file; the registry lists each",
    "riskwatch.feeds.shapes.bank_csv": "one shape a file; the registry lists each",
    "riskwatch.feeds.shapes.bybit_log": "one shape a file; the registry lists each",
    "riskwatch.feeds.shapes.camt053": "one shape a file; the registry lists each",
    "riskwatch.feeds.shapes.ccxt_balance": "one shape a file; the registry lists each",
    "riskwatch.feeds.shapes.ccxt_positions": "one shape a file; the registry lists each",
    "riskwatch.feeds.shapes.ccxt_trades": "one shape a file; the registry lists each",
    "riskwatch.feeds.shapes.ccxt_transactions": "one shape a file; the registry lists each",
    "riskwatch.feeds.shapes.closes": "one shape a file; the registry lists each",
    "riskwatch.feeds.shapes.defillama_prices": "one shape a file; the registry lists each",
    "riskwatch.feeds.shapes.deribit_positions": "one shape a file; the registry lists each",
    "riskwatch.feeds.shapes.fix_executions": "one shape a file; the registry lists each",
    "riskwatch.feeds.shapes.ftx_files": "one shape a file; the registry lists each",
    "riskwatch.feeds.shapes.mt940_statement": "one shape a file; the registry lists each",
    "riskwatch.feeds.shapes.okx_bills": "one shape a file; the registry lists each",
    "riskwatch.feeds.shapes.pool_states": "one shape a file; the registry lists each",
    "riskwatch.feeds.shapes.tardis_trades": "one shape a file; the registry lists each",
    "riskwatch.fitting.artefact": "entry point of the fit command; seconds to import",
    "riskwatch.fitting.asks": "entry point of the fit command; imports NumPy",
    "riskwatch.fitting.frozen": "documented user function freeze",
    "riskwatch.fitting.priors": "entry point of the fit command; imports NumPy",
    "riskwatch.models.adaptive": "one estimator a file",
    "riskwatch.models.adwin": "one estimator a file",
    "riskwatch.models.authority": "policy of authority, apart from scoring and learning",
    "riskwatch.models.river_generation": "documented user class",
    "riskwatch.scenarios.book": "one generator of events a file",
    "riskwatch.scenarios.firm": "one generator of events a file",
    "riskwatch.scenarios.random_episodes": "fits models; the labelled episodes stand apart",
    "riskwatch.scenarios.trading": "one actor of the sample firm a file",
    "riskwatch.scenarios.transfers": "one actor of the sample firm a file",
    "riskwatch.store.current_state": "SQL stays in the store; the mirror reads it",
    "riskwatch.store.dead_letters": "SQL stays in the store; `riskwatch dlq` reads it",
    "riskwatch.store.row_counts": "SQL stays in the store; the worker's metrics read it",
    "riskwatch.store.scope_table": "SQL stays in the store; the heartbeat reads it",
    "riskwatch.worker.health": "the HTTP server knows nothing of workers",
    "riskwatch.worker.pretrade": "measures and grants headroom, tested without a worker",
    "riskwatch.worker.partitions": "a subject of its own, tested without a worker",
}
"""Modules that only one other module imports, and why each is a file of its own."""

Modules = dict[str, ast.Module]


@pytest.fixture(scope="module")
def modules(root: Path) -> Modules:
    """Syntax trees by dotted name, of everything that ships but migrations."""
    found = {}
    for top in ("riskwatch", "streams"):
        for path in sorted((root / top).rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            found[name] = ast.parse(path.read_text())
    return found


def imported(name: str, tree: ast.Module, known: Mapping[str, object]) -> Iterator[str]:
    """Modules that a module imports anywhere, for type checking included."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                module = full if full in known else node.module
                if module in known and module != name:
                    yield module
        elif isinstance(node, ast.Import):
            yield from (a.name for a in node.names if a.name in known and a.name != name)


def graph(modules: Modules) -> dict[str, set[str]]:
    """Who imports whom."""
    return {name: set(imported(name, tree, modules)) for name, tree in modules.items()}


def circles(edges: Mapping[str, set[str]]) -> list[str]:
    """Modules that can be reached from themselves."""
    found = []
    for start in sorted(edges):
        reached: set[str] = set()
        todo = sorted(edges[start])
        while todo:
            name = todo.pop()
            if name not in reached:
                reached.add(name)
                todo += sorted(edges[name])
        if start in reached:
            found.append(start)
    return found


def single_importers(edges: Mapping[str, set[str]]) -> dict[str, str]:
    """Modules with exactly one importer, and which that is."""
    importers: dict[str, list[str]] = {}
    for name, targets in edges.items():
        for target in targets:
            importers.setdefault(target, []).append(name)
    return {name: users[0] for name, users in importers.items() if len(users) == 1}


def public_names(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Classes and functions of a module that others may use."""
    for node in tree.body:
        if not isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if not node.name.startswith("_"):
            yield node.lineno, node.name


def snake(name: str) -> str:
    """A class name as words with underscores."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


def retired_names(name: str, tree: ast.Module) -> list[str]:
    """What in a module bears a retired name."""
    found = [f"module {name}"] if name.rpartition(".")[2] in RETIRED else []
    return found + [f"{name}:{line} {n}" for line, n in public_names(tree) if snake(n) in RETIRED]


def first_line(tree: ast.Module) -> str:
    """The first line of a module's docstring."""
    return (ast.get_docstring(tree) or "").partition("\n")[0]


def test_no_module_imports_itself_in_a_circle(modules: Modules) -> None:
    """Imports have an order, those for type checking included."""
    assert circles(graph(modules)) == []


def test_a_circle_is_seen() -> None:
    """The search finds a circle of three and leaves what merely leads to it."""
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == ["a", "b", "c"]


def test_a_class_name_stands_once(modules: Modules) -> None:
    """No two modules have a public class of one name, but where a reason is given."""
    where: dict[str, list[str]] = {}
    for name, tree in modules.items():
        for node in tree.body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                where.setdefault(node.name, []).append(name)
    twice = {name: places for name, places in where.items() if len(places) > 1}
    assert set(twice) == set(SAME_NAME), twice


def test_retired_words_are_gone(modules: Modules) -> None:
    """No module, public class or public function bears a name of the old private vocabulary."""
    found = [bad for name, tree in modules.items() for bad in retired_names(name, tree)]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("name", "source"),
    [("riskwatch.engine.herald", ""), ("x", "class Teller: ..."), ("x", "def told(): ...")],
)
def test_a_retired_word_is_seen(name: str, source: str) -> None:
    """Module, class and function names are looked at."""
    assert retired_names(name, ast.parse(source))


def test_a_file_with_one_importer_has_a_reason(modules: Modules) -> None:
    """What only one module needs is part of it, unless a reason is given."""
    single = single_importers(graph(modules))
    packages = {name for name in modules if any(m.startswith(name + ".") for m in modules)}
    unexplained = {n: u for n, u in single.items() if n not in ONE_IMPORTER and n not in packages}
    assert not unexplained


def test_reasons_are_of_modules_that_exist(modules: Modules) -> None:
    """A reason whose module is gone goes too."""
    assert set(ONE_IMPORTER) <= set(modules)


def test_each_module_says_what_it_is(modules: Modules) -> None:
    """The first line of a module is one sentence."""
    found = {name: first_line(t) for name, t in modules.items() if not first_line(t).endswith(".")}
    assert not found
