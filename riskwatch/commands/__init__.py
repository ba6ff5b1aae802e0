"""Commands of the command line, one file per subject; `riskwatch.cli` mounts them."""
