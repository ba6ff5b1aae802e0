"""The boundary: bytes of the outside world in, checked events out, and the topics they use.

``decode(raw)`` answers with an event that keeps every rule of the contract, or with a
``Refusal`` that says which rule was broken; it never raises. What a stage gets has passed here,
so no stage checks again.

To add an event: its type in :mod:`riskwatch.core.events`, its rules in
:data:`riskwatch.contracts.validation.CHECKS`, its topic in :data:`riskwatch.contracts.topics.TOPICS`,
a golden file ``tests/contract/golden/v1/<type>.json``, and ``riskwatch schema export`` once.
Each of the last four is missed by a test if it is forgotten.
"""
