"""The audit of a finished run: what a classifier leans on, read from disjoint explanations of each image."""
