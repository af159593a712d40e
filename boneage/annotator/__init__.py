"""The browser tool for drawing masks."""
