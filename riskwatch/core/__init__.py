"""The pure core: events in, outputs out, without a clock, I/O or randomness."""
