"""Fixtures of the notification tests."""

from __future__ import annotations

from tests.support.sqlite import engine, template, url

__all__ = ["engine", "template", "url"]
