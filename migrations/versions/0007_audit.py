"""The audit chain, and the triggers that refuse changes of its rows."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

SQLITE = (
    """
    CREATE TRIGGER audit_chain_update BEFORE UPDATE ON audit_chain
    BEGIN SELECT RAISE(ABORT, 'audit_chain is append only'); END
    """,
    """
    CREATE TRIGGER audit_chain_delete BEFORE DELETE ON audit_chain
    BEGIN SELECT RAISE(ABORT, 'audit_chain is append only'); END
    """,
    # INSERT OR REPLACE deletes without a trigger; what is not next in the chain is refused.
    """
    CREATE TRIGGER audit_chain_insert BEFORE INSERT ON audit_chain
    WHEN NEW.seq <> 1 + COALESCE((SELECT MAX(seq) FROM audit_chain WHERE worker = NEW.worker), 0)
    BEGIN SELECT RAISE(ABORT, 'audit_chain is append only: the row is not the next one'); END
    """,
)
# ALWAYS: a session that replays a replica's changes does not get by.
POSTGRES = (
    """
    CREATE FUNCTION audit_chain_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN RAISE EXCEPTION 'audit_chain is append only' USING ERRCODE = 'insufficient_privilege'; END
    $$
    """,
    """
    CREATE FUNCTION audit_chain_next() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
      IF NEW.seq <> 1 + COALESCE((SELECT MAX(seq) FROM audit_chain WHERE worker = NEW.worker), 0)
      THEN
        RAISE EXCEPTION 'audit_chain is append only: the row is not the next one'
          USING ERRCODE = 'insufficient_privilege';
      END IF;
      RETURN NEW;
    END
    $$
    """,
    """
    CREATE TRIGGER audit_chain_change BEFORE UPDATE OR DELETE ON audit_chain
    FOR EACH ROW EXECUTE FUNCTION audit_chain_refuse()
    """,
    """
    CREATE TRIGGER audit_chain_truncate BEFORE TRUNCATE ON audit_chain
    FOR EACH STATEMENT EXECUTE FUNCTION audit_chain_refuse()
    """,
    """
    CREATE TRIGGER audit_chain_insert BEFORE INSERT ON audit_chain
    FOR EACH ROW EXECUTE FUNCTION audit_chain_next()
    """,
    "ALTER TABLE audit_chain ENABLE ALWAYS TRIGGER audit_chain_change",
    "ALTER TABLE audit_chain ENABLE ALWAYS TRIGGER audit_chain_truncate",
    "ALTER TABLE audit_chain ENABLE ALWAYS TRIGGER audit_chain_insert",
)


def upgrade() -> None:
    op.create_table(
        "audit_chain",
        sa.Column("worker", sa.Text(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("place", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("us", sa.BigInteger(), nullable=False),
        sa.Column("engine", sa.Text(), nullable=False),
        sa.Column("payload", sa.Text(), nullable=False),
        sa.Column("previous", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("worker", "seq", name=op.f("pk_audit_chain")),
    )
    op.create_index(op.f("ix_audit_chain_id"), "audit_chain", ["id"], unique=False)
    op.create_index(
        "ix_audit_chain_worker_kind_seq", "audit_chain", ["worker", "kind", "seq"], unique=False
    )
    for statement in SQLITE if op.get_bind().dialect.name == "sqlite" else POSTGRES:
        op.execute(statement)


def downgrade() -> None:
    op.drop_table("audit_chain")
    if op.get_bind().dialect.name != "sqlite":
        op.execute("DROP FUNCTION audit_chain_next()")
        op.execute("DROP FUNCTION audit_chain_refuse()")
