"""The exported contract: not drifted, portable, and written by the command."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
from typer.testing import CliRunner

from riskwatch.commands.schema import app
from riskwatch.contracts.schema import documents
from riskwatch.contracts.topics import TOPICS

PUBLISHED = Path(__file__).parents[2] / "docs" / "schema"


def _strings(node: Any, key: str) -> list[str]:
    if isinstance(node, dict):
        own = [node[key]] if isinstance(node.get(key), str) else []
        return own + [s for x in node.values() for s in _strings(x, key)]
    return [s for x in node for s in _strings(x, key)] if isinstance(node, list) else []


def test_published_schema_has_not_drifted() -> None:
    """`docs/schema` is what ``riskwatch schema export --out docs/schema`` writes today."""
    published = {
        path.relative_to(PUBLISHED).as_posix(): path.read_bytes()
        for path in PUBLISHED.rglob("*.json")
    }
    assert published == documents()


def test_command_writes_the_documents(tmp_path: Path) -> None:
    """The command writes every document, and says how many."""
    result = CliRunner().invoke(app, ["export", "--out", str(tmp_path / "new")])
    assert result.exit_code == 0
    assert result.stdout.startswith(f"{len(documents())} files")
    for name, data in documents().items():
        assert (tmp_path / "new" / name).read_bytes() == data


@pytest.mark.parametrize("name", documents())
def test_documents_are_portable_and_closed(name: str) -> None:
    """No pattern of Python alone, and every reference leads somewhere in the same document."""
    document = msgspec.json.decode(documents()[name])
    for pattern in _strings(document, "pattern"):
        assert re.fullmatch(r"\^.*\$", pattern)
        assert r"\A" not in pattern
        re.compile(pattern)
    for reference in _strings(document, "$ref"):
        node = document
        for part in reference.removeprefix("#/").split("/"):
            node = node[part]
        assert node


def test_asyncapi_covers_every_topic() -> None:
    """Each topic is a channel with its layout, and has one operation."""
    document = msgspec.json.decode(documents()["asyncapi.json"])
    assert list(document["channels"]) == list(TOPICS)
    assert [o["channel"]["$ref"] for o in document["operations"].values()] == [
        f"#/channels/{name}" for name in TOPICS
    ]
    layout = document["channels"]["riskwatch.killswitch"]["bindings"]["kafka"]
    assert layout["topicConfiguration"] == {"cleanup.policy": ["compact"], "retention.ms": -1}
