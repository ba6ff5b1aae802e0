"""The guard of an order path: it answers whether an order may be sent.

:mod:`.trust` holds what is known and has no threads or clocks of its own. :mod:`.view` holds the
immutable table that answers orders. :mod:`.kafka_source` and :mod:`.redis_source` receive messages
in their own threads. :mod:`.ack_publisher` acknowledges what was applied. :mod:`.switch` combines
them as :class:`riskwatch.client.KillSwitch`.
"""
