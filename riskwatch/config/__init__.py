"""The configuration: reads the TOML files, checks them together, records what is in force."""
