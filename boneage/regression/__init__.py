"""From the enhanced hand to a bone age in months."""
