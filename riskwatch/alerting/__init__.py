"""The worker ``notify``: it sends alerts to people, by routes that fail independently.

* ``routes``: reads ``notify.toml``, and the secret URL and key of each route;
* ``delivery``: delivers the notifications of one route, in a thread of its own, with retries;
* ``consumer``: reads the topic of alerts;
* ``resync``: compares the open alerts with SQL, where the topic does not have them;
* ``worker``: reads alerts, and stores and dispatches notifications.
"""
