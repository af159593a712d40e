"""What to ask a person to annotate, and when to stop."""
