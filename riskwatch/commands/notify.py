"""``riskwatch notify``: list notifications and failed deliveries, and test a route."""

from __future__ import annotations

import getpass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path  # noqa: TC003 - typer reads annotations when it runs
from typing import TYPE_CHECKING, Annotated, Any

import typer

from riskwatch.alerting.delivery import post_notification
from riskwatch.alerting.routes import NOTIFY, load_notify, resolve_target
from riskwatch.commands.db import DEFAULT, Database
from riskwatch.commands.query import Json, show_json, show_rows
from riskwatch.config import paths
from riskwatch.contracts.notifications import notification_body
from riskwatch.core.alerting.config import AlertKind, AlertLevel
from riskwatch.core.alerting.notification import NotificationKind, make_notification
from riskwatch.core.alerting.state import AlertItem
from riskwatch.core.clock import micros, rfc3339
from riskwatch.core.enums import Cause, State
from riskwatch.core.text import visible
from riskwatch.errors import ConfigError, RiskwatchError, StoreError
from riskwatch.store import notifications
from riskwatch.store.deployment import current_deployment
from riskwatch.store.engine import open_engine
from riskwatch.store.migrate import require_current
from riskwatch.store.queries import open_reader

if TYPE_CHECKING:
    from collections.abc import Sequence

app = typer.Typer(help="Notifications: deliveries, dead letters, tests.", no_args_is_help=True)

Limit = Annotated[int, typer.Option(min=1, max=100_000, help="Most notifications to show.")]
RouteOption = Annotated[str | None, typer.Option("--route", help="Only of this route.")]
_EVERYTHING = 100_000
_NAMES = ["id", "made", "route", "kind", "level", "title", "status", "tries", "reason"]


@app.command("list")
def list_command(
    *,
    route: RouteOption = None,
    status: Annotated[str | None, typer.Option(help="Only what is waiting, sent or dead.")] = None,
    limit: Limit = 50,
    database: Database = DEFAULT,
    as_json: Json = False,
) -> None:
    """Show notifications, the newest first, and the status of their delivery."""
    known = (notifications.WAITING, notifications.SENT, notifications.DEAD)
    if status is not None and status not in known:
        raise ConfigError("command line", "--status", f"one of {', '.join(known)}", status)
    with open_reader(database) as conn:
        _show(notifications.list_notifications(conn, status, route, limit), as_json=as_json)


@app.command("dead")
def dead_command(
    *,
    route: RouteOption = None,
    limit: Limit = 50,
    database: Database = DEFAULT,
    as_json: Json = False,
) -> None:
    """Show notifications that could not be delivered, and why."""
    with open_reader(database) as conn:
        _show(
            notifications.list_notifications(conn, notifications.DEAD, route, limit),
            as_json=as_json,
        )


@app.command("replay")
def replay_command(
    which: Annotated[
        list[str] | None, typer.Argument(metavar="ID", help="Ids, or prefixes of them.")
    ] = None,
    *,
    everything: Annotated[bool, typer.Option("--all", help="Every dead letter.")] = False,
    route: RouteOption = None,
    person: Annotated[
        str | None, typer.Option(help="Your name; the user of this system if unset.")
    ] = None,
    database: Database = DEFAULT,
) -> None:
    """Deliver dead letters again under their own ids, so that a receiver can drop repeats."""
    if everything == bool(which):
        raise RiskwatchError("notify replay: name notices, or use --all")
    with open_reader(database) as conn:
        found = notifications.list_notifications(conn, notifications.DEAD, route, _EVERYTHING)
    ids = [row["id"] for row in found]
    chosen = ids if everything else [_one(ids, prefix) for prefix in which or []]
    engine = open_engine(database)
    try:
        with engine.connect() as conn:
            require_current(conn)
        done = notifications.replay_dead(
            engine, chosen, person or getpass.getuser(), datetime.now(UTC)
        )
    finally:
        engine.dispose()
    typer.echo(f"{done} notices wait for delivery again")


@app.command("test")
def try_command(
    name: Annotated[str, typer.Argument(metavar="ROUTE", help="As notify.toml names it.")],
    *,
    config: Annotated[
        Path | None,
        typer.Option(envvar="RISKWATCH_CONFIG", help="Rules folder; the shipped one if absent."),
    ] = None,
    database: Database = DEFAULT,
) -> None:
    """Send one test message by a route at once, past the queue; exit code 2 if it fails.

    The message names the deployment of the database, if the database can be read.
    """
    routes = load_notify(config or paths.rules_folder()).routes
    if name not in routes:
        known = ", ".join(routes) or "none, as it stands"
        raise ConfigError(NOTIFY, "routes", f"one of its routes ({known})", name)
    to, now = resolve_target(routes[name]), datetime.now(UTC)
    us = micros(now)
    made = make_notification(NotificationKind.TEST, name, (name, "test"), us, [_sample(name, us)])
    body = notification_body(to.route.kind, made, _deployment(database))
    answer = post_notification(to, made.id, body, now)
    if answer.failure:
        raise RiskwatchError(f"{name} at {to.host}: {answer.failure}")
    typer.echo(f"{name} at {to.host} took it")


def _deployment(database: str) -> str:
    """Return the deployment of a database; empty if it cannot be read."""
    try:
        with open_reader(database) as conn:
            return current_deployment(conn).id
    except StoreError as error:
        typer.echo(f"the message names no deployment: {error}", err=True)
        return ""


def _sample(route: str, us: int) -> AlertItem:
    return AlertItem(
        alert="test", episode=f"test-{us}", raise_id=f"test-{us}", status="firing", scope="test",
        about=AlertKind.OTHER, severity=State.NORMAL, state=State.NORMAL, level=AlertLevel.LOW,
        cause=Cause.OPERATOR, title=f"riskwatch tries the route {route}: nothing is the matter",
        reasons=["a person ran riskwatch notify test"], exposure_usd=Decimal(0), decision_id="",
        opened=rfc3339(us), raised=1, acknowledged_by="",
    )  # fmt: skip


def _one(ids: Sequence[str], prefix: str) -> str:
    found = [known for known in ids if known.startswith(prefix)]
    if len(found) != 1:
        raise RiskwatchError(f"{len(found)} dead notices have an id that begins with {prefix}")
    return found[0]


def _show(rows: list[dict[str, Any]], *, as_json: bool) -> None:
    if as_json:
        for row in rows:
            show_json(row)
        return
    shown = [
        [
            row["id"][:12],
            rfc3339(micros(row["made_ts"]) // 1_000_000 * 1_000_000),
            row["route"],
            row["kind"],
            row["level"],
            visible(row["title"]),
            row["status"],
            str(row["tries"]),
            visible(row["reason"]),
        ]
        for row in rows
    ]
    show_rows(_NAMES, shown)
