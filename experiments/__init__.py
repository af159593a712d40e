"""Experiments: questions of science, each answered by one command."""
