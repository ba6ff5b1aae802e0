"""docs/sql.md documents every table, view and column, and its queries run."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import inspect

from tests.support.views import fill

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine

PAGE = (Path(__file__).parents[3] / "docs" / "sql.md").read_text()
SECTIONS = dict(re.findall(r"^### (`[^\n]+)\n(.*?)(?=^##|\Z)", PAGE, re.DOTALL | re.MULTILINE))
QUERIES = re.findall(r"```sql\n(.*?);\n```", PAGE, re.DOTALL)


def section(name: str) -> str:
    """Return the section of the page on a table or view."""
    found = [body for title, body in SECTIONS.items() if f"`{name}`" in title]
    assert found, f"{name} has no section"
    return "\n".join(found)


def test_every_table_view_and_column_is_documented(engine: Engine) -> None:
    """Each column is named in code font in the section of its table."""
    catalogue = inspect(engine)
    names = [*catalogue.get_table_names(), *catalogue.get_view_names()]
    for name in names:
        if name != "alembic_version":
            text = section(name)
            for column in catalogue.get_columns(name):
                assert f"`{column['name']}`" in text, f"{name}.{column['name']}"


def test_there_are_five_example_queries() -> None:
    """The page promises five queries."""
    assert len(QUERIES) == 5


@pytest.mark.parametrize("query", QUERIES)
def test_example_queries_run(engine: Engine, query: str) -> None:
    """They run on the sample history, and most return rows."""
    fill(engine)
    with engine.connect() as conn:
        rows = conn.exec_driver_sql(query).all()
    assert bool(rows) == ("utilisation > 0.8" not in query)
