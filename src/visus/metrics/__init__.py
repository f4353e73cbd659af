"""Metrics: rows that merge over batches and ranks, and scores with intervals.  Importing it loads no torch."""
