"""Fixtures of these tests."""

from __future__ import annotations

from tests.support.worker_fixtures import engine, logged, template, url

__all__ = ["engine", "logged", "template", "url"]
