"""The guard of an order path, in parts.

:mod:`.belief` is what is known, without threads or clocks of its own; :mod:`.view` is the
immutable table that orders are asked of; :mod:`.kafka_source` and :mod:`.redis_source` bring news
in threads of their own; :mod:`.acker` says back what was applied; :mod:`.switch` puts them
together as :class:`riskwatch.client.KillSwitch`.
"""
