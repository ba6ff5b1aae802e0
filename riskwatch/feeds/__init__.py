"""Readers that convert public recordings into events of the wire contract.

To add a format:

1. Write a subclass of :class:`BarReader` in a file of this package: its name, one line about
   it, the columns of the opening time and the columns that identify it (``Klines`` in
   ``formats.py`` is an example).
2. Override ``bars(table, tally)`` if the columns are not named open, high, low, close, volume.
   Count every row in ``tally``: increase ``read``, then yield a bar or call ``skip`` with a reason.
3. Add one instance to ``READERS`` in ``formats.py``; the reader with the highest ``sniff`` is used.
4. ``riskwatch.checks.check_feed(YourReader(), sample_path)`` must pass. See docs/feeds.md.
"""

from riskwatch.feeds.base import BarReader, FeedReader, Survey
from riskwatch.feeds.formats import READERS, reader_named, recognise
from riskwatch.feeds.importer import Plan, plan, read_quotes
from riskwatch.feeds.record import Bar, Feed, Job, Reason, Reject, Tally
from riskwatch.feeds.table import Table, TableHead, open_table

__all__ = [
    "READERS",
    "Bar",
    "BarReader",
    "Feed",
    "FeedReader",
    "Job",
    "Plan",
    "Reason",
    "Reject",
    "Survey",
    "Table",
    "TableHead",
    "Tally",
    "open_table",
    "plan",
    "read_quotes",
    "reader_named",
    "recognise",
]
