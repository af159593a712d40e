"""The table of a cohort: reading, splitting, importing, checking."""
