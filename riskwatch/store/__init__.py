"""The SQL store: the source of truth of a firm, and the interface to query it.

:mod:`.batch` holds what a runner commits, :mod:`.transaction` writes it in one transaction,
:mod:`.project` maps outputs to rows, and :mod:`.schema` collects the tables (:mod:`.truth` to
resume from, :mod:`.projections` to query, :mod:`.reference` for look-through). :mod:`.engine`
opens a database, :mod:`.migrate` upgrades its schema, :mod:`.queries` and :mod:`.explain` read
it, and :mod:`.content` digests it.

To add a table: declare it in one of those three modules, write a migration beside the others
in ``migrations/versions``, add a line in :mod:`.project` and a section in ``docs/sql.md``. A
test compares tables and migrations on both databases.
"""
