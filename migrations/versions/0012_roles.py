"""Roles of the database: writer, reader, auditor. SQLite has none: file permissions apply.

Where this login may not make roles, whoever runs the server makes them first
(deploy/postgres/roles.sh shows how); an upgrade then gives them their rights.
"""

from __future__ import annotations

from alembic import op

from riskwatch.store import migrate

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    bind = op.get_bind()
    if bind.dialect.name == "postgresql":
        migrate.make_roles(bind)
        migrate.grant_rights(bind)


def downgrade() -> None:
    bind = op.get_bind()
    if bind.dialect.name == "postgresql":
        migrate.revoke_rights(bind)
