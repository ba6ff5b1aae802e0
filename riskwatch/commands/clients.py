"""``riskwatch clients``: the order paths, what they applied, and their times to acknowledge."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer
from kafka.errors import KafkaError

from riskwatch.commands.db import DEFAULT, Database
from riskwatch.commands.query import Json, show_rows
from riskwatch.commands.stream import Kafka, connection
from riskwatch.contracts.acks import ACKS
from riskwatch.contracts.kafka_clients import open_producer
from riskwatch.core.clock import micros, rfc3339
from riskwatch.errors import BrokerError
from riskwatch.store import clients as table
from riskwatch.store.queries import open_reader

if TYPE_CHECKING:
    from datetime import datetime

_SENT_S = 10.0
_NAMES = ["client", "last heard", "holds", "late with", "acks", "p50", "p99", "place", "why"]


def clients_command(
    *,
    forget: Annotated[
        str | None, typer.Option(help="Remove this client from the expected ones.")
    ] = None,
    kafka: Kafka = None,
    database: Database = DEFAULT,
    as_json: Json = False,
) -> None:
    """Show what each order path applied of the kill switch, and its times to acknowledge."""
    if forget is not None:
        _forget(forget, kafka)
        return
    with open_reader(database) as conn:
        found = table.clients(conn)
    if as_json:
        for client in found:
            typer.echo(msgspec.json.encode(client).decode())
        return
    show_rows(_NAMES, [_row(client) for client in found])


def _row(found: dict[str, Any]) -> list[str]:
    state = "ended" if found["ended"] else found["floor"]
    troubled = [f"{name}: {status}" for name, status in found["sources"].items() if status != "ok"]
    return [
        found["client"],
        _time(found["seen_ts"]),
        state,
        ", ".join(found["late"]),
        str(found["acks"]),
        _seconds(found["p50_s"]),
        _seconds(found["p99_s"]),
        f"{found['epoch']}/{found['seq']}",
        "; ".join([found["why"]] * bool(found["why"]) + troubled),
    ]


def _time(moment: datetime) -> str:
    return rfc3339(micros(moment) // 1_000_000 * 1_000_000)


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.3f} s"


def _forget(client: str, kafka: str | None) -> None:
    to = connection(kafka)
    producer = open_producer(to, _SENT_S, max_block_ms=int(_SENT_S * 1000))
    try:
        sent = producer.send(to.topic(ACKS), None, key=client.encode())
        sent.get(timeout=_SENT_S)
    except KafkaError as error:
        raise BrokerError(f"{to.servers}: {error}") from error
    finally:
        producer.close(timeout=1)
    typer.echo(f"{client} is forgotten, unless it speaks again")
