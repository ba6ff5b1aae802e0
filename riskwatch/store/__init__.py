"""The SQL store: the one place where truth lives, and the interface to ask it.

:mod:`.batch` is what a runner hands over, :mod:`.transaction` makes it true in one transaction,
:mod:`.project` says which output becomes which row, :mod:`.schema` collects the tables
(:mod:`.truth` to resume from, :mod:`.projections` to ask, :mod:`.reference` for look-through),
:mod:`.migrate` brings a database up, :mod:`.engine` opens it, :mod:`.queries` and
:mod:`.explain` read it, :mod:`.content` digests it.

To add a table: declare it in one of those three modules, write a migration beside the others
in ``migrations/versions``, add a line in :mod:`.project` and a section in ``docs/sql.md``. A
test compares tables and migrations on both databases.
"""
