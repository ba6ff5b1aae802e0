"""The wire contract: decoding bytes to checked events, encoding outputs, and the topics.

``decode(raw)`` returns an event that satisfies every rule of the contract, or a ``Refusal`` that
names the broken rule; it never raises. Every event of a stage has been decoded here, so stages do
not check again.

To add an event: its type in :mod:`riskwatch.core.events`, its rules in
:data:`riskwatch.contracts.validation.CHECKS`, its topic in
:data:`riskwatch.contracts.topics.TOPICS`,
a golden file ``tests/contract/golden/v1/<type>.json``, and ``riskwatch schema export`` once.
A test fails if one of the last four is missing.
"""
