"""Where the networks look, and figures and pages that show it."""
