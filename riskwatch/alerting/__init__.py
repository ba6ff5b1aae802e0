"""The worker ``notify``: alerts to people, by routes that fail without harming one another.

* ``routes``: ``notify.toml``, and where each route leads (URLs and keys are secrets of their own);
* ``post``: one try to deliver one notice;
* ``courier``: a route's thread, which tries until it arrives or is a dead letter;
* ``standing``: what is open, where the topic cannot say it;
* ``worker``: hears the topic of alerts, and writes what is to be told.
"""
