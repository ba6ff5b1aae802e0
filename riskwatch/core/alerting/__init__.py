"""Who is told of what, when, and how often: a state machine without clock and without I/O.

Alerts, decisions, acknowledgements, silences and time go in; notices come out, and for each raise
of an alert and each route one word on what became of it. Nothing is lost: an alert is notified, or
it waits with its group, or it is held by a silence or a graver HALT; the reason is recorded, and
what is held is told when the reason ends. A HALT waits for nobody and is held by nothing.

* ``config``: routes and their matchers, as ``notify.toml`` has them;
* ``rows``: what is remembered, in rows;
* ``notice``: what comes out;
* ``tell``: what is due at a moment;
* ``hear``: what outputs and commands change.
"""
