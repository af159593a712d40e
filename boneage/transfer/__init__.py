"""Paced and conventional transfer learning."""
