"""The run folder: its files, how they are read back and rendered, and what a failed image costs."""
