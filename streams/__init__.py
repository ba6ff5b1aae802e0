"""The workers on Kafka: thin Faust apps that hand whole fetches to the runner.

:mod:`streams.ledger` and :mod:`streams.risk` say which worker, :mod:`streams.host` hosts it.
What a worker reads, runs and publishes is in :mod:`riskwatch.worker.worker`; what it decides is
in ``riskwatch/core``. To add a worker: name its topics and its stages there, and give it a
module here that is as short as these.
"""
