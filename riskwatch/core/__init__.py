"""The pure core: events in, outputs out, no clock, no I/O, no chance."""
