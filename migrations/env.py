"""Entry point of Alembic. It runs online only, on a connection that riskwatch opens."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from alembic import context

from riskwatch.store.engine import open_engine
from riskwatch.store.schema import METADATA

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection


def migrate(conn: Connection) -> None:
    context.configure(connection=conn, target_metadata=METADATA, render_as_batch=True)
    with context.begin_transaction():
        context.run_migrations()


given = context.config.attributes.get("connection")
if given is not None:
    migrate(given)
else:
    engine = open_engine(os.environ.get("RISKWATCH_DATABASE", "sqlite:///riskwatch.db"))
    with engine.connect() as own:
        migrate(own)
        own.commit()
    engine.dispose()
