"""Servers for the chaos tests, which may stop and kill them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.chaos.lab import servers

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.kafka import Node
    from tests.support.postgres import Server


@pytest.fixture(scope="module")
def kafka_chaos() -> Iterator[tuple[Node, Server]]:
    """A broker and a Postgres of this module; each test has a database and topics of its own."""
    with servers() as made:
        yield made
