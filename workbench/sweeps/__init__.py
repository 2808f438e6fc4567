"""Sweeps: many runs of one configuration, planned, started, pruned, compared."""
