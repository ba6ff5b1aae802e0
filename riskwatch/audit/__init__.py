"""The audit: it re-derives and verifies decisions, keeps checkpoints, and reports incidents."""
