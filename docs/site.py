"""Pages of the documentation site that are made from the code: the reference, and the first page.

MkDocs calls :func:`on_files` (see ``mkdocs.yml``). A page of the reference is made from the types
that the program itself uses, so it cannot say anything else than the program does.
"""

from __future__ import annotations

import re
import types
from html import escape
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, Union, get_args, get_origin

import msgspec
import typer.main
from griffe import Docstring, DocstringSectionKind
from mkdocs.structure.files import File
from sqlalchemy import create_engine, inspect
from typer.cli import get_docs_for_click

from riskwatch.alerting import routes
from riskwatch.cli import app
from riskwatch.config import config
from riskwatch.contracts.topics import TOPICS
from riskwatch.core.alerting.config import NotifyConfig
from riskwatch.core.events import WireEvent
from riskwatch.core.names import NamesConfig
from riskwatch.core.operators import Operators
from riskwatch.core.outputs import AnyOutput
from riskwatch.core.policy import Policy
from riskwatch.core.reference import LimitsConfig, Reference
from riskwatch.core.risk.scorer import ModelsConfig
from riskwatch.core.rules import RulePack
from riskwatch.store.migrate import upgrade
from riskwatch.worker.settings import PREFIX, ProcessSettings

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files

ROOT: Final = Path(__file__).resolve().parents[1]
MADE: Final = "This page is made from the code by `make docs`.\n"
FILES: Final[dict[str, type[msgspec.Struct]]] = {
    config.REFERENCE: Reference,
    config.LIMITS: LimitsConfig,
    config.RULES: RulePack,
    config.POLICY: Policy,
    config.MODELS: ModelsConfig,
    config.OPERATORS: Operators,
    config.NAMES: NamesConfig,
    routes.NOTIFY: NotifyConfig,
}
"""The type of each file of a folder of rules."""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made from the code; MkDocs calls this once for a build."""
    for path, text in pages().items():
        files.append(File.generated(config, path, content=text))
    return files


def on_page_content(html: str, **_: Any) -> str:
    """Return the text of a page without the roles of docstrings, such as ``:class:``."""
    return re.sub(r":\w+:(<code>)~?(?:\w+\.)*([^<]+</code>)", r"\1\2", html)


def pages() -> dict[str, str]:
    """Return the text of each page that is made, by its path in the site."""
    return {
        "index.md": _moved("README.md"),
        "contributing.md": _moved("CONTRIBUTING.md"),
        "reference/configuration.md": configuration(),
        "reference/environment.md": environment(),
        "reference/events.md": wire("Events", get_args(WireEvent)),
        "reference/outputs.md": wire("Outputs", get_args(AnyOutput)),
        "reference/topics.md": topics(),
        "reference/tables.md": tables(),
        "reference/commands.md": commands(),
        "reference/client.md": f"# Client library\n\n{MADE}\n::: riskwatch.client\n",
    }


def _moved(name: str) -> str:
    """Return a page of the top folder, with its links as seen from the folder of the pages."""
    return (ROOT / name).read_text().replace("](docs/", "](")


def configuration() -> str:
    """Return the page of every key of every file of a folder of rules."""
    parts = [f"# Configuration\n\n{MADE}\nEach chapter is one file of the folder of rules.\n"]
    for file, struct in FILES.items():
        parts.append(f"## `{file}`\n")
        structs = _nested(struct)
        parts += [_struct(s, _where(s, structs)) for s in structs]
    return "\n".join(parts)


def _nested(struct: type[msgspec.Struct]) -> list[type[msgspec.Struct]]:
    """Return a struct and the structs in its fields, each once, from the top down."""
    found = [struct]
    for one in found:
        for field in msgspec.structs.fields(one):
            if one is Policy and field.name == "models":
                continue
            found += [s for s in _structs(field.type) if s not in found]
    return found


def _structs(kind: Any) -> Iterable[type[msgspec.Struct]]:
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        yield kind
    for part in get_args(kind):
        yield from _structs(part)


def _where(struct: type[msgspec.Struct], structs: list[type[msgspec.Struct]]) -> str:
    """Return the key under which a struct stands in its file, as TOML writes it."""
    for parent in structs:
        for field in msgspec.structs.fields(parent):
            if struct in _structs(field.type):
                above = "" if parent is structs[0] else _where(parent, structs).strip("[]") + "."
                name = f"{above}{field.encode_name}"
                if get_origin(field.type) is dict:
                    return f"[{name}.ID]"
                return f"[[{name}]]" if get_origin(field.type) is tuple else f"[{name}]"
    return ""


def _struct(struct: type[msgspec.Struct], where: str) -> str:
    """Return the chapter of one table of a file: its keys, types, defaults and meanings."""
    title = f"### `{where}`\n\n" if where else ""
    about, meanings = _documented(struct)
    # The id of an entry stands in the name of its table; models stand in a file of their own.
    skip = {"id"} if where.endswith(".ID]") else {"models"} if struct is Policy else set()
    lines = [f"{title}{about}\n", "| key | type | default | meaning |", "|---|---|---|---|"]
    lines += [
        f"| `{field.encode_name}` | {_cell(_type(field.type))} | {_cell(_default(field))} | "
        f"{_cell(meanings.get(field.name, ''))} |"
        for field in msgspec.structs.fields(struct)
        if field.encode_name not in skip
    ]
    return "\n".join(lines) + "\n"


def _documented(struct: type) -> tuple[str, dict[str, str]]:
    """Return the text of a docstring, and what it says of each attribute."""
    about, meanings = "", {}
    for section in Docstring(struct.__doc__ or "").parse("numpy"):
        if section.kind is DocstringSectionKind.text and not about:
            about = str(section.value)
        elif section.kind is DocstringSectionKind.attributes:
            for item in section.value:
                for name in item.name.split(","):
                    meanings[name.strip()] = item.description
    return _plain(about), {name: _plain(text) for name, text in meanings.items()}


def _plain(text: str) -> str:
    """Return the markup of a docstring as that of a page."""
    text = re.sub(r":\w+:`~?([^`]+)`", r"`\1`", text).replace("``", "`")
    return text.strip()


def _cell(text: str) -> str:
    """Return text that cannot end a cell of a table."""
    return " ".join(text.split()).replace("|", "\\|")


def _type(kind: Any) -> str:
    """Return a type in words."""
    origin, args = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return f"{_type(args[0])}{_bounds(kind)}"
    if hasattr(kind, "__members__"):
        return ", ".join(f"`{member.value}`" for member in kind)
    if args:
        return _composed(origin, [a for a in args if a not in _NOTHING])
    return _WORDS.get(kind, getattr(kind, "__name__", str(kind)))


def _composed(origin: Any, args: list[Any]) -> str:
    """Return a type that is made of others in words."""
    if origin is Literal:
        return ", ".join(f"`{a}`" for a in args)
    words = [_type(a) for a in args if a is not ...]
    if origin in (Union, types.UnionType):
        return " or ".join(words)
    if origin is dict:
        return f"table of {words[0]} to {words[1]}"
    if origin is tuple and ... not in args:
        return f"[{', '.join(words)}]"
    return f"list of {words[0]}"


_NOTHING: Final = (type(None), msgspec.UnsetType)
"""Types of a value that is not there."""
_WORDS: Final[dict[Any, str]] = {
    str: "text",
    int: "whole number",
    float: "number",
    bool: "true or false",
    Any: "any value",
}


def _bounds(kind: Any) -> str:
    """Return the bounds of an annotated type."""
    signs = {"gt": ">", "ge": "≥", "lt": "<", "le": "≤", "max_length": "at most"}
    found = [
        f"{sign} {value}"
        for meta in getattr(kind, "__metadata__", ())
        for name, sign in signs.items()
        if (value := getattr(meta, name, None)) is not None
    ]
    return f" ({', '.join(found)})" if found else ""


def _default(field: Any) -> str:
    """Return the default of a field as TOML writes it; no default means that it is required."""
    if field.required:
        return "required"
    value = field.default
    if value is msgspec.NODEFAULT:
        value = field.default_factory()
    if value is None or value is msgspec.UNSET:
        return "none"
    if isinstance(value, msgspec.Struct):
        return "see its table"
    return f"`{escape(msgspec.json.encode(value).decode(), quote=False)}`"


def environment() -> str:
    """Return the page of the environment variables of a process."""
    _, meanings = _documented(ProcessSettings)
    lines = [f"# Environment\n\n{MADE}", "| variable | type | default | meaning |"]
    lines.append("|---|---|---|---|")
    for name, field in ProcessSettings.model_fields.items():
        given = field.get_default(call_default_factory=True)
        default = "none" if given in (None, "") else f"`{given}`"
        meaning = meanings.get(name) or _prefixed(name, meanings)
        lines.append(
            f"| `{PREFIX}{name.upper()}` | {_cell(_type(field.annotation))} | {default} | "
            f"{_cell(meaning)} |"
        )
    return "\n".join(lines) + "\n"


def _prefixed(name: str, meanings: dict[str, str]) -> str:
    """Return what is said of a group of settings, such as ``kafka_*``."""
    groups = [key for key in meanings if key.endswith("*") and name.startswith(key.rstrip("*"))]
    return meanings[groups[0]] if groups else ""


def wire(title: str, structs: Iterable[type[msgspec.Struct]]) -> str:
    """Return the page of the messages of one direction."""
    parts = [f"# {title}\n\n{MADE}\nAmounts are decimals, written as text. Times are UTC.\n"]
    for struct in sorted(structs, key=lambda s: str(s.__struct_config__.tag)):
        inherited: dict[str, str] = {}
        for base in reversed(struct.__mro__):
            if base.__doc__ and issubclass(base, msgspec.Struct):
                inherited |= _documented(base)[1]
        about, _ = _documented(struct)
        parts += [f"## `{struct.__struct_config__.tag}`\n", f"{about}\n"]
        parts += ["| field | type | default | meaning |", "|---|---|---|---|"]
        parts += [
            f"| `{f.encode_name}` | {_cell(_type(f.type))} | {_cell(_default(f))} | "
            f"{_cell(inherited.get(f.name, ''))} |"
            for f in msgspec.structs.fields(struct)
        ]
        parts.append("")
    return "\n".join(parts)


def topics() -> str:
    """Return the page of the topics."""
    lines = [f"# Topics\n\n{MADE}", "| topic | role | what it carries |", "|---|---|---|"]
    lines += [f"| `{t.name}` | {t.role} | {_cell(t.about)} |" for t in TOPICS.values()]
    return "\n".join(lines) + "\n"


def tables() -> str:
    """Return the page of tables, views and columns, read from a database that was just made."""
    with TemporaryDirectory() as folder:
        engine = create_engine(f"sqlite:///{folder}/made.db")
        try:
            upgrade(engine)
            found = inspect(engine)
            names = {"View": sorted(found.get_view_names()), "Table": found.get_table_names()}
            columns = {n: found.get_columns(n) for group in names.values() for n in group}
        finally:
            engine.dispose()
    parts = [
        f"# Tables and views\n\n{MADE}\n[What they mean](../sql.md) is on a page of its own.\n"
    ]
    for kind, group in names.items():
        parts.append(f"## {kind}s\n")
        for name in group:
            parts += [f"### `{name}`\n", "| column | type |", "|---|---|"]
            parts += [f"| `{c['name']}` | {_cell(str(c['type']))} |" for c in columns[name]]
            parts.append("")
    return "\n".join(parts)


def commands() -> str:
    """Return the page of the command line."""
    command = typer.main.get_command(app)
    context = typer.Context(command, info_name="riskwatch")
    text = get_docs_for_click(obj=command, ctx=context, name="riskwatch", title="Command line")
    return text.replace("# Command line\n", f"# Command line\n\n{MADE}", 1)
