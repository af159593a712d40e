"""Speed, each beside what a user would otherwise run and what cannot be avoided."""
