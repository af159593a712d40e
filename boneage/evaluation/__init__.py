"""Metrics with intervals, comparisons of runs, and their figures."""
