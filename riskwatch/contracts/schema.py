"""Generation of JSON Schemas and the AsyncAPI document from the types and the table of topics."""

from __future__ import annotations

import json
from typing import Any, Final, get_args

import msgspec

from riskwatch.contracts.codec import tag_of
from riskwatch.contracts.topics import TOPICS, Topic
from riskwatch.core.events import WireEvent
from riskwatch.core.outputs import AnyOutput
from riskwatch.version import ENGINE

_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
_INPUT_NUMBER: Final = r"^-?[0-9]{1,24}(\.[0-9]{1,18})?$"
_OUTPUT_NUMBER: Final = r"^-?[0-9]+(\.[0-9]+)?$"
_EVENTS: Final[tuple[type[msgspec.Struct], ...]] = get_args(WireEvent)
_OUTPUTS: Final[tuple[type[msgspec.Struct], ...]] = get_args(AnyOutput)


def documents() -> dict[str, bytes]:
    """Return all generated documents: bytes by file name, relative to the export folder.

    The same types give the same bytes.

    Examples
    --------
    >>> sorted(documents())[:3]
    ['asyncapi.json', 'event/account_snapshot.json', 'event/adjustment.json']
    """
    files: dict[str, Any] = {"asyncapi.json": asyncapi()}
    for folder, structs in (("event", _EVENTS), ("output", _OUTPUTS)):
        for struct in structs:
            files[f"{folder}/{tag_of(struct)}.json"] = {"$schema": _DIALECT, **_schema(struct)}
    return {name: _text(document) for name, document in files.items()}


def _text(document: dict[str, Any]) -> bytes:
    return json.dumps(document, indent=2, ensure_ascii=False).encode() + b"\n"


def _schema(struct: type[msgspec.Struct]) -> dict[str, Any]:
    """Return the self-contained JSON Schema of one struct."""
    (top,), others = _schemas([struct])
    return {**top, "$defs": others} if others else top


def _schemas(
    structs: list[type[msgspec.Struct]], template: str = "#/$defs/{name}"
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Return the schemas of `structs`, and of the types that they refer to (the closed enums)."""
    _, parts = msgspec.json.schema_components(structs, ref_template=template)
    tops = [_portable(parts.pop(s.__name__), exact=s in _EVENTS) for s in structs]
    return tops, {name: _portable(parts[name], exact=False) for name in sorted(parts)}


def _portable(node: Any, *, exact: bool) -> Any:
    r"""Rewrite the parts of a schema that are specific to Python or msgspec.

    ``\A`` and ``\Z`` become the anchors of ECMA 262, and decimals get a pattern. `exact` is for
    inputs, whose numbers are bounded.
    """
    if isinstance(node, list):
        return [_portable(x, exact=exact) for x in node]
    if not isinstance(node, dict):
        return node
    out = {key: _portable(value, exact=exact) for key, value in node.items()}
    if out.get("format") == "decimal":
        out["pattern"] = _INPUT_NUMBER if exact else _OUTPUT_NUMBER
    elif isinstance(out.get("pattern"), str):
        out["pattern"] = out["pattern"].replace(r"\A", "^").replace(r"\Z", "$")
    if isinstance(out.get("description"), str):
        out["description"] = "\n".join(line.strip() for line in out["description"].splitlines())
    return out


def asyncapi() -> dict[str, Any]:
    """Return the AsyncAPI 3.0 document of all topics."""
    carried = [struct for topic in TOPICS.values() for struct in topic.carries]
    tops, others = _schemas(carried, "#/components/schemas/{name}")
    schemas = {s.__name__: top for s, top in zip(carried, tops, strict=True)} | others
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "riskwatch",
            "version": ENGINE,
            "description": "Facts in, decisions out. Version 1 of the wire contract.",
        },
        "defaultContentType": "application/json",
        "channels": {name: _channel(topic) for name, topic in TOPICS.items()},
        "operations": {f"{_verb(t)}.{name}": _operation(t) for name, t in TOPICS.items()},
        "components": {
            "messages": {m: body for t in TOPICS.values() for m, body in _messages(t).items()},
            "schemas": schemas,
        },
    }


def _verb(topic: Topic) -> str:
    """Return whether the application sends or receives a topic; it sends readings to itself."""
    return "receive" if topic.role == "input" else "send"


def _messages(topic: Topic) -> dict[str, Any]:
    """Return the messages of a topic by name; one without a schema if it carries no struct."""
    if not topic.carries:
        body = {"contentType": topic.content_type, "summary": topic.about}
        return {topic.name.removeprefix("riskwatch."): body}
    return {
        struct.__name__: {
            "name": tag_of(struct),
            "contentType": topic.content_type,
            "payload": {"$ref": f"#/components/schemas/{struct.__name__}"},
        }
        for struct in topic.carries
    }


def _channel(topic: Topic) -> dict[str, Any]:
    retention = -1 if topic.retention_h is None else topic.retention_h * 3_600_000
    return {
        "address": topic.name,
        "description": f"{topic.about} Key: {topic.key}.",
        "messages": {m: {"$ref": f"#/components/messages/{m}"} for m in _messages(topic)},
        "bindings": {
            "kafka": {
                "topic": topic.name,
                "partitions": topic.partitions,
                "topicConfiguration": {
                    "cleanup.policy": ["compact" if topic.compacted else "delete"],
                    "retention.ms": retention,
                },
                "bindingVersion": "0.5.0",
            }
        },
    }


def _operation(topic: Topic) -> dict[str, Any]:
    channel = f"#/channels/{topic.name}"
    return {
        "action": _verb(topic),
        "channel": {"$ref": channel},
        "messages": [{"$ref": f"{channel}/messages/{m}"} for m in _messages(topic)],
    }
