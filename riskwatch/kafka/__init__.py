"""Kafka: the producer of committed outputs, and the management of topics."""
