"""Everything that touches the outside: configuration, files, the runner, publication."""
