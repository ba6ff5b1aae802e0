"""The audit: derives decisions again, verifies them, keeps checkpoints, writes incident bundles."""
