"""The stream worker: partitions, leases, standby, crash handling, mirror, metrics and health."""
