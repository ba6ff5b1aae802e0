"""Migrations: they create the schema of this build, and checks find differences."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from alembic import command
from sqlalchemy import inspect

import riskwatch
from riskwatch.errors import StoreError
from riskwatch.store import migrate
from riskwatch.store.engine import open_engine
from riskwatch.store.schema import METADATA

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine

VIEWS = {
    "advisory_decisions",
    "alert_open",
    "asset_now",
    "commands",
    "decision",
    "exposure_by_asset",
    "exposure_by_book",
    "exposure_by_counterparty",
    "exposure_by_issuer",
    "exposure_now",
    "exposure_with_derivatives",
    "position_now",
    "drawdown_now",
    "pnl_today",
    "transfer_now",
    "killswitch_now",
    "limit_utilisation",
    "override_now",
    "request_open",
    "authority_log",
    "model_status",
    "score_now",
    "silence_now",
    "scoreboard",
    "notice_undelivered",
    "paging",
}


def test_migrations_make_the_tables_of_this_build(engine: Engine) -> None:
    """Alembic finds no difference, and every view exists."""
    migrate.check(engine)
    found = inspect(engine)
    assert set(found.get_table_names()) == {*METADATA.tables, "alembic_version"}
    assert set(found.get_view_names()) == VIEWS


def test_an_installed_package_carries_its_own_migrations(tmp_path: Path) -> None:
    """It uses those, even if another folder of that name lies beside it."""
    source = Path(riskwatch.__file__).parent
    site = tmp_path / "site"
    shutil.copytree(source, site / "riskwatch", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(source.parent / "migrations", site / "riskwatch" / "_shipped" / "migrations")
    (site / "migrations").mkdir()
    (site / "migrations" / "env.py").write_text("raise SystemExit('not mine')")
    url = f"sqlite:///{tmp_path / 'x.db'}"
    code = (
        "from riskwatch.store import migrate as m; "
        f"m.upgrade({url!r}); print(m.migrations_folder())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        check=False,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
    )
    assert done.stderr == ""
    assert done.stdout.strip() == str(site / "riskwatch" / "_shipped" / "migrations")
    migrate.check(url)


def test_upgrading_again_changes_nothing(url: str) -> None:
    """The second upgrade reaches the same revision."""
    assert migrate.current_revision(url) == migrate.head_revision()
    assert migrate.upgrade(url) == migrate.head_revision()


def test_downgrading_leaves_nothing_behind(engine: Engine) -> None:
    """Every migration reverts its changes."""
    config = migrate._config()
    with engine.begin() as conn:
        config.attributes["connection"] = conn
        command.downgrade(config, "base")
    assert inspect(engine).get_table_names() == ["alembic_version"]
    assert inspect(engine).get_view_names() == []
    migrate.upgrade(engine)
    migrate.check(engine)


def test_an_empty_database_is_named_as_such(tmp_path: Path) -> None:
    """The error says what to do."""
    url = f"sqlite:///{tmp_path / 'x.db'}"
    open_engine(url).dispose()
    (tmp_path / "x.db").touch()
    assert migrate.current_revision(url) is None
    with pytest.raises(StoreError, match=r"has no riskwatch schema.*run `riskwatch db upgrade`"):
        migrate.check(url)


def test_an_old_database_is_named_as_such(engine: Engine) -> None:
    """The error gives its revision and the needed one."""
    with engine.begin() as conn:
        conn.exec_driver_sql("UPDATE alembic_version SET version_num = '0002'")
    with pytest.raises(StoreError, match=r"is at revision 0002.*run `riskwatch db upgrade`"):
        migrate.check(engine)


def test_a_newer_database_is_left_alone(engine: Engine) -> None:
    """A newer database is neither used nor changed."""
    with engine.begin() as conn:
        conn.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    for use in (migrate.check, migrate.upgrade):
        with pytest.raises(StoreError, match="written by a newer riskwatch"):
            use(engine)


def test_a_changed_table_is_found(engine: Engine) -> None:
    """An additional index or column is a difference."""
    with engine.begin() as conn:
        conn.exec_driver_sql("ALTER TABLE alert ADD COLUMN mine TEXT")
    with pytest.raises(StoreError, match="differs from the schema of this build in 1 place"):
        migrate.check(engine)
