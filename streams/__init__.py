"""The Faust apps of the stream workers: they pass whole fetches to the runner.

:mod:`streams.ledger` and :mod:`streams.risk` name the worker, :mod:`streams.host` hosts it.
:mod:`riskwatch.worker.worker` defines what a worker reads, runs and publishes, and
``riskwatch/core`` what it decides. To add a worker, define its topics and its stages there, and
add a module here that is as short as these.
"""
