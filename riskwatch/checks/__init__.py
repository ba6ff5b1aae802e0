"""Public conformance kits: what a new feed or rule pack must keep, as functions that raise."""

from riskwatch.checks.feed import check_feed
from riskwatch.checks.rule_pack import check_rule_pack

__all__ = ["check_feed", "check_rule_pack"]
