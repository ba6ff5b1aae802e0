"""``riskwatch doctor``: check everything that the workers need."""

from __future__ import annotations

import logging
from typing import Annotated, Final

import msgspec
import typer

from riskwatch.doctor import examine
from riskwatch.worker.settings import ProcessSettings

_COLOURS: Final = {"ok": typer.colors.GREEN, "warn": typer.colors.YELLOW, "fail": typer.colors.RED}
_WIDTH: Final = 28


def doctor_command(
    *,
    as_json: Annotated[bool, typer.Option("--json", help="NDJSON, one object per line.")] = False,
) -> None:
    """Check configuration, database, broker, mirror and clocks; exit code 1 if a check fails.

    The settings are those of the environment, as for workers. Nothing is changed.
    """
    # The findings already contain the errors of the client library, in one line each.
    logging.getLogger("kafka").setLevel(logging.CRITICAL)
    failed = False
    for finding in examine(ProcessSettings.read()):
        failed = failed or finding.status == "fail"
        if as_json:
            typer.echo(msgspec.json.encode(finding).decode())
            continue
        status = typer.style(f"{finding.status:<5}", fg=_COLOURS[finding.status])
        typer.echo(f"{status} {finding.check:<{_WIDTH}} {finding.seen}")
        if finding.do:
            typer.echo(f"{'':5} {'':{_WIDTH}} -> {finding.do}")
    if failed:
        raise typer.Exit(1)
