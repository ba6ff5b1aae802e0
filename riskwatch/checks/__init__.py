"""Public conformance kits: the requirements for a feed, a model or a rule pack."""

from riskwatch.checks.feed import check_feed
from riskwatch.checks.model import check_model
from riskwatch.checks.rule_pack import check_rule_pack

__all__ = ["check_feed", "check_model", "check_rule_pack"]
