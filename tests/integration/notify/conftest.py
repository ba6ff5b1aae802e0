"""Fixtures of the tests of notices."""

from __future__ import annotations

from tests.support.sqlite import engine, template, url

__all__ = ["engine", "template", "url"]
