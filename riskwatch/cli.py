"""The command line: it mounts the commands, and turns an error into one line and exit code 2."""

from __future__ import annotations

import sys
import traceback
from typing import TYPE_CHECKING, Annotated

import typer

from riskwatch.commands import (
    audit,
    bench,
    clients,
    config,
    data,
    db,
    demo,
    dlq,
    doctor,
    fit,
    history,
    init,
    killswitch,
    models,
    notify,
    operator,
    policy,
    publish,
    query,
    replay,
    rules,
    run,
    scenario,
    schema,
    stream,
)
from riskwatch.contracts.redact import redact_secrets
from riskwatch.core.text import visible_lines
from riskwatch.errors import OptionNeededError, RiskwatchError
from riskwatch.version import ENGINE

if TYPE_CHECKING:
    from collections.abc import Callable

app = typer.Typer(
    name="riskwatch",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.command("bench")(bench.bench_command)
app.command("init")(init.init_command)
app.command("demo")(demo.demo_command)
app.command("replay")(replay.replay_command)
app.command("run")(run.run_command)
app.add_typer(run.app, name="topics")
app.command("import")(data.import_command)
app.command("feeds")(data.feeds_command)
app.command("fit")(fit.fit_command)
app.command("exposure")(query.exposure_command)
app.command("positions")(query.positions_command)
app.command("pnl")(query.pnl_command)
app.command("history")(history.history_command)
app.command("alerts")(stream.alerts_command)
app.command("explain")(query.explain_command)
app.command("verify")(audit.verify_decisions_command)
app.command("sql")(query.sql_command)
app.command("doctor")(doctor.doctor_command)
app.command("clients")(clients.clients_command)
app.command("publish")(publish.publish_command)
query.killswitch_app.command("watch")(stream.watch_command)
killswitch.app.command("drill")(killswitch.drill_command)
killswitch.app.command("drills")(killswitch.drills_command)
app.add_typer(killswitch.app, name="killswitch")
app.add_typer(operator.app, name="operator")
app.add_typer(config.app, name="config")
app.add_typer(policy.app, name="policy")
app.add_typer(rules.app, name="rules")
app.add_typer(scenario.app, name="scenario")
app.add_typer(schema.app, name="schema")
app.add_typer(db.app, name="db")
app.add_typer(dlq.app, name="dlq")
models.app.command("check")(models.check_command)
app.add_typer(models.app, name="models")
app.add_typer(audit.app, name="audit")
app.add_typer(notify.app, name="notify")


def _print_version(value: bool) -> None:
    """Print the engine version, and end."""
    if value:
        typer.echo(ENGINE)
        raise typer.Exit


@app.callback()
def _riskwatch(
    *,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="The version."),
    ] = False,
) -> None:
    """Real-time risk and counterparty-exposure monitor for trading firms."""
    del version


@app.command("version")
def version_command() -> None:
    """Print the engine version that outputs are bound to."""
    typer.echo(ENGINE)


def main() -> None:
    """Entry point of the command line."""
    run_with_exit_code(app)


def run_with_exit_code(act: Callable[[], object]) -> None:
    """Call `act`; print a :class:`RiskwatchError` as one line on stderr, with exit code 2.

    If the error is that an option is needed, the code is 4. Any other exception is a bug and ends
    the process with its traceback and exit code 1. Secrets are redacted from both.
    ``docs/configuration.md`` lists all exit codes.
    """
    try:
        act()
    except RiskwatchError as error:
        sys.stderr.write(f"riskwatch: {visible_lines(redact_secrets(str(error)))}\n")
        raise SystemExit(4 if isinstance(error, OptionNeededError) else 2) from None
    except Exception:  # noqa: BLE001 - the traceback is printed, and the process ends
        sys.stderr.write(redact_secrets(traceback.format_exc()))
        raise SystemExit(1) from None
