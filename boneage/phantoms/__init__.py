"""Simulated hand radiographs of known bone age."""
