"""``riskwatch schema``: the wire contract as JSON Schema and AsyncAPI."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from riskwatch.contracts.schema import documents

app = typer.Typer(help="The wire contract as JSON Schema and AsyncAPI.", no_args_is_help=True)


@app.callback()
def schema() -> None:
    """Show the wire contract as JSON Schema and AsyncAPI."""


@app.command()
def export(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write to.")] = Path("schema"),
) -> None:
    """Write one JSON Schema per event and output, and an AsyncAPI 3.0 document of all topics."""
    files = documents()
    for name, data in files.items():
        target = out / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    typer.echo(f"{len(files)} files in {out}")
