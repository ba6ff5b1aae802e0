"""Alert notification: which route is notified of which alert, when, and how often.

It is a state machine without clock and I/O. Alerts, decisions, acknowledgements, silences and ticks
go in. Notifications come out, and for each raise of an alert and each route a disposition, which
states what became of it. No alert is lost: it is notified, or waits with its group, or is held back
by a silence or a HALT above it. The reason is recorded, and a held alert is notified when the
reason ends. A HALT neither waits nor is held back.

* ``config``: routes and matchers of ``notify.toml``;
* ``state``: the rows;
* ``notification``: notifications and dispositions;
* ``dispatch``: the notifications that are due at a time;
* ``notifier``: the effects of outputs and commands.
"""
