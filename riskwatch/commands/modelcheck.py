"""``riskwatch models check``: whether a model keeps what the ladder relies on."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
import typer

from riskwatch.errors import RiskwatchError


def check_command(
    name: Annotated[
        str, typer.Argument(help="A built-in model, or an entry point in riskwatch.models.")
    ],
    *,
    options: Annotated[
        str, typer.Option("--options", help="Options of the model, as a JSON object.")
    ] = "{}",
    target: Annotated[str, typer.Option("--target", help="Target that it is made for.")] = "",
    events: Annotated[
        int, typer.Option("--events", min=100, help="States that bound its size are measured by.")
    ] = 100_000,
) -> None:
    """Run the public conformance kit on a model.

    Exit code 2 if it fails, with every check that it fails and why.
    """
    from riskwatch.checks.model import CHECKS, check_model  # noqa: PLC0415 - a second to import

    passed = check_model(name, options=_options(options), target=target, events=events)
    for check in passed:
        said = (CHECKS[check].__doc__ or "").partition("\n")[0]
        typer.echo(f"{check}: {said}")
    typer.echo(f"model {name!r} passes {len(passed)} checks over {events:,} events")


def _options(text: str) -> dict[str, Any]:
    """Options of a model.

    Raises
    ------
    RiskwatchError
        If the text is no JSON object.
    """
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except msgspec.MsgspecError as error:
        raise RiskwatchError(f"--options must be a JSON object: {error}") from error
