"""Metrics of finished explanations, ours and those of other tools: what is measured, on whom, and the tables."""
