"""``riskwatch operator``: keys of operators, and their roles."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from riskwatch.commands import sender
from riskwatch.commands.db import Folder  # noqa: TC001 - typer reads annotations
from riskwatch.commands.query import Json, show_rows
from riskwatch.config import config as files
from riskwatch.config import paths
from riskwatch.config.toml import toml_string
from riskwatch.core.operators import Operator, Role  # noqa: TC001 - Typer reads Role
from riskwatch.errors import ConfigError

app = typer.Typer(help="Operators: who may turn the kill switch.", no_args_is_help=True)


@app.command("keygen")
def keygen_command(
    key: Annotated[Path, typer.Option("--key", help="File to create; mode 0600, for you alone.")],
) -> None:
    """Make a private key, and print its public half, which is not secret."""
    typer.echo(sender.make_keyfile(key))


@app.command("add")
def add_command(
    name: Annotated[str, typer.Argument(help="Id of the operator, as used in commands.")],
    *,
    role: Annotated[Role, typer.Option(help="What they may do.")],
    public_key: Annotated[str, typer.Option(help="As `operator keygen` printed it.")],
    book: Annotated[
        list[str] | None, typer.Option(help="A trader's own book; may be repeated.")
    ] = None,
    full_name: Annotated[str, typer.Option(help="For people to read.")] = "",
    function: Annotated[
        str, typer.Option(help="Where they work: trading, risk, operations, ...")
    ] = "",
    config: Folder = None,
) -> None:
    """Add an operator to operators.toml; it takes effect when the risk worker restarts."""
    folder = config or paths.rules_folder()
    known = files.load_operators(folder)
    if name in known.operators:
        raise ConfigError(files.OPERATORS, f"operators.{name}", "a new operator", "one of this id")
    path = folder / files.OPERATORS
    before = path.read_text() if path.exists() else ""
    lines = [f"[operators.{toml_string(name)}]"]
    lines += [f"name = {toml_string(full_name)}"] if full_name else []
    lines += [f"role = {toml_string(role.value)}", f"public_key = {toml_string(public_key)}"]
    lines += [f"function = {toml_string(function)}"] if function else []
    lines += [f"books = [{', '.join(toml_string(b) for b in book)}]"] if book else []
    gap = "\n" if before and not before.endswith("\n\n") else ""
    _replace(path, f"{before}{gap}" + "\n".join(lines) + "\n")
    typer.echo(f"{name} is {role.value} in {path}; restart the risk worker")


@app.command("list")
def list_command(*, config: Folder = None, as_json: Json = False) -> None:
    """Show the operators and their roles."""
    found = files.load_operators(config or paths.rules_folder()).operators
    if as_json:
        for operator in found.values():
            typer.echo(msgspec.json.encode(operator).decode())
        return
    rows = [
        [
            o.id,
            o.name,
            o.role.value,
            o.function,
            ", ".join(o.books),
            _operator_row(o),
            o.public_key,
        ]
        for o in found.values()
    ]
    show_rows(["operator", "name", "role", "function", "books", "", "public key"], rows)


def _operator_row(operator: Operator) -> str:
    return "disabled" if operator.disabled else ""


def _replace(path: Path, text: str) -> None:
    """Replace a file, after the new content was read back without an error.

    Raises
    ------
    ConfigError
        If the new content is invalid; the old file then stays unchanged.
    """
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        made = Path(folder) / path.name
        made.write_text(text)
        files.load_operators(Path(folder))
        if path.exists():
            made.chmod(path.stat().st_mode)
        os.replace(made, path)  # noqa: PTH105 - its name says that it replaces
