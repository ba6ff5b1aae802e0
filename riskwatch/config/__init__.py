"""The configuration: it reads and checks the TOML files, and records the effective values."""
