"""A photo explained in one line: `explain`, and the `Explanation` that it returns."""
