"""Whether an explanation stays the same where it should, and changes where it should."""
