"""The stream workers: partitions, leases, standby, crash handling, mirror, metrics and health."""
