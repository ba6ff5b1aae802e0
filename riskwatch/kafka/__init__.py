"""Kafka: the producer that publishes committed outputs, and the topics."""
