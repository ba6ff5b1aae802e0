"""``riskwatch operator``: keys, and who may turn the switch."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from riskwatch.commands import sender
from riskwatch.commands.query import Json, show_rows
from riskwatch.config import config as files
from riskwatch.config import paths
from riskwatch.core.operators import Operator, Role  # noqa: TC001 - Typer reads Role
from riskwatch.errors import ConfigError

app = typer.Typer(help="Operators: who may turn the kill switch.", no_args_is_help=True)

Folder = Annotated[
    Path | None,
    typer.Option(
        "--config", envvar="RISKWATCH_CONFIG", help="Folder of operators.toml; else the shipped."
    ),
]


@app.command("keygen")
def keygen_command(
    key: Annotated[Path, typer.Option("--key", help="File to make; mode 0600, for you alone.")],
) -> None:
    """Make a private key, and print its public half, which is no secret."""
    typer.echo(sender.make_keyfile(key))


@app.command("add")
def add_command(
    name: Annotated[str, typer.Argument(help="Id of the operator, as commands will say it.")],
    *,
    role: Annotated[Role, typer.Option(help="What they may do.")],
    public_key: Annotated[str, typer.Option(help="As `operator keygen` printed it.")],
    book: Annotated[list[str] | None, typer.Option(help="A trader's own; may be repeated.")] = None,
    full_name: Annotated[str, typer.Option(help="For people to read.")] = "",
    config: Folder = None,
) -> None:
    """Add an operator to operators.toml; it counts once the risk worker has restarted."""
    folder = config or paths.rules_folder()
    known = files.load_operators(folder)
    if name in known.operators:
        raise ConfigError(files.OPERATORS, f"operators.{name}", "a new operator", "one of this id")
    path = folder / files.OPERATORS
    before = path.read_text() if path.exists() else ""
    lines = [f"[operators.{_text(name)}]"]
    lines += [f"name = {_text(full_name)}"] if full_name else []
    lines += [f"role = {_text(role.value)}", f"public_key = {_text(public_key)}"]
    lines += [f"books = [{', '.join(_text(b) for b in book)}]"] if book else []
    gap = "\n" if before and not before.endswith("\n\n") else ""
    _replace(path, f"{before}{gap}" + "\n".join(lines) + "\n")
    typer.echo(f"{name} is {role.value} in {path}; restart the risk worker")


@app.command("list")
def list_command(*, config: Folder = None, as_json: Json = False) -> None:
    """Show who may do what."""
    found = files.load_operators(config or paths.rules_folder()).operators
    if as_json:
        for operator in found.values():
            typer.echo(msgspec.json.encode(operator).decode())
        return
    rows = [
        [o.id, o.name, o.role.value, ", ".join(o.books), _operator_row(o), o.public_key]
        for o in found.values()
    ]
    show_rows(["operator", "name", "role", "books", "", "public key"], rows)


def _operator_row(operator: Operator) -> str:
    return "disabled" if operator.disabled else ""


def _text(value: str) -> str:
    """Write a string as TOML has it; JSON's strings are among those that TOML reads."""
    return json.dumps(value)


def _replace(path: Path, text: str) -> None:
    """Put a new file in place of the old one, once it has been read back without complaint.

    Raises
    ------
    ConfigError
        If the result could not be used; the old file stays as it is.
    """
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        made = Path(folder) / path.name
        made.write_text(text)
        files.load_operators(Path(folder))
        if path.exists():
            made.chmod(path.stat().st_mode)
        os.replace(made, path)  # noqa: PTH105 - says that it replaces
