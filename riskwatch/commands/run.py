"""``riskwatch run`` and ``riskwatch topics``: the workers on Kafka, and their topics."""

from __future__ import annotations

import importlib
import importlib.util
import signal
import sys
from contextlib import contextmanager, suppress
from types import ModuleType  # noqa: TC003 - named in a signature
from typing import TYPE_CHECKING, Annotated, Any

import typer

from riskwatch.acks.worker import AckWorker
from riskwatch.alerting.routes import load_notify, resolve_target
from riskwatch.alerting.worker import NotificationWorker
from riskwatch.commands.query import show_rows
from riskwatch.config import paths
from riskwatch.errors import BrokerError, RiskwatchError, StoppedError
from riskwatch.kafka import acls, topics
from riskwatch.worker import logs
from riskwatch.worker.health import HealthServer
from riskwatch.worker.settings import ProcessSettings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from riskwatch.worker.standby import StandbyWorker
    from riskwatch.worker.worker import Worker

app = typer.Typer(help="Make and compare the topics.", no_args_is_help=True)


def run_command(
    worker: Annotated[str, typer.Argument(help="ledger, risk, clients or notify.")],
) -> None:
    """Run a worker until it is stopped (SIGTERM, Ctrl-C). Settings come from RISKWATCH_*."""
    settings = ProcessSettings.read()
    logs.configure_logging(settings.log_level, settings.log_format)
    if worker == "clients":
        run_worker(AckWorker(settings), settings)
        return
    if worker == "notify":
        config = load_notify(paths.rules_folder() if settings.config is None else settings.config)
        targets = [resolve_target(route) for route in config.routes.values()]
        run_worker(NotificationWorker(settings, config, targets), settings)
        return
    if worker not in ("ledger", "risk"):
        raise RiskwatchError(f"worker must be ledger, risk, clients or notify, was {worker!r}")
    module = load_stream(f"streams.{worker}")
    made: Worker = module.worker(settings)
    with health_server(made, settings):
        made.prepare()
        if not made.stop.is_set():
            module.run(made)


def run_worker(made: StandbyWorker, settings: ProcessSettings) -> None:
    """Run a worker without a stage until the process is stopped."""
    with health_server(made, settings):
        try:
            made.prepare()
            made.run()
        finally:
            made.close()


@contextmanager
def health_server(made: StandbyWorker | Worker, settings: ProcessSettings) -> Iterator[None]:
    """Serve health and metrics while a worker runs, and let signals stop its waiting.

    Faust handles signals once it runs; a signal that came earlier is kept.
    """
    health = None
    if settings.http != "off":
        health = HealthServer(settings.http, made.metrics.registry, made.live, made.ready)
    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: made.stop.set())
        with suppress(StoppedError):
            yield
    finally:
        if health is not None:
            health.close()


def load_stream(name: str) -> ModuleType:
    """Import a module of ``streams``, which is beside the package or inside the wheel.

    Raises
    ------
    RiskwatchError
        If this installation does not contain it.
    """
    if "streams" not in sys.modules:
        folder = paths.streams_folder()
        spec = importlib.util.spec_from_file_location(
            "streams", folder / "__init__.py", submodule_search_locations=[str(folder)]
        )
        assert spec is not None
        assert spec.loader is not None
        package = importlib.util.module_from_spec(spec)
        sys.modules["streams"] = package
        spec.loader.exec_module(package)
    return importlib.import_module(name)


@app.command("create")
def create_command(
    *,
    replication: Annotated[int, typer.Option(min=1, help="Replicas of each new partition.")] = 1,
    grant: Annotated[
        list[str] | None,
        typer.Option(help="ROLE=USER: give a broker user exactly the rights of a role."),
    ] = None,
) -> None:
    """Create the missing topics, set the configuration of all, and the rights of broker users."""
    connection = ProcessSettings.read().connection
    wanted = [each.partition("=")[::2] for each in grant or []]
    for role, _ in wanted:
        acls.role_rights(role, connection)
    made = topics.create_topics(connection, replication)
    for name in made:
        typer.echo(f"made {connection.topic(name)}")
    typer.echo(f"{len(made)} topics made, all as they must be")
    if wanted and acls.topic_writers(connection) is None:
        typer.echo(f"no rights are set: {acls.NO_AUTHORIZER}", err=True)
        return
    for role, user in wanted:
        added, dropped = acls.grant_role(connection, role, user)
        typer.echo(f"{user} has the rights of {role} ({added} added, {dropped} taken away)")


@app.command("roles")
def roles_command() -> None:
    """Show the roles of broker users: which topics each may write and read."""
    show_rows(
        ["role", "who", "writes", "reads", "groups"],
        [
            [name, role.about, ", ".join(role.writes), ", ".join(role.reads), str(role.groups)]
            for name, role in acls.ROLES.items()
        ],
    )


@app.command("check")
def check_command() -> None:
    """Compare the topics with their required configuration; exit code 2 if they differ."""
    connection = ProcessSettings.read().connection
    found: list[Any] = topics.topic_differences(connection)
    for line in found:
        typer.echo(line)
    if found:
        raise BrokerError(f"{len(found)} differences on {connection.servers}")
    typer.echo("all topics are as they must be")
