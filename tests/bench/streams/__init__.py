"""Figures of the workers on a real broker and a real Postgres, as ratios measured in one run.

``make bench-streams`` runs all parts and prints one table; ``ARGS="--only latency"`` runs one.
Nothing here is a test: machines are noisy, and what a figure was measured under stands beside it.
"""
