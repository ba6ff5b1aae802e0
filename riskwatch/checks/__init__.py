"""Public conformance kits: what a new feed must keep, as functions that raise AssertionError."""

from riskwatch.checks.feed import check_feed

__all__ = ["check_feed"]
