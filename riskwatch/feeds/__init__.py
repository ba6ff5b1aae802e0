"""Readers that turn public recordings into events of the wire contract.

To add a format:

1. Write one file here with a subclass of :class:`BarReader`: its name, one line about it, the
   columns of the opening time and the columns that mark it (``klines.py`` is an example).
2. Override ``bars(table, tally)`` if the columns are not named open, high, low, close, volume;
   tell ``tally`` of every row: read it, then yield a bar or ``skip`` it with a reason.
3. Add one instance to ``READERS`` in ``registry.py``; the surest ``sniff`` wins.
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
