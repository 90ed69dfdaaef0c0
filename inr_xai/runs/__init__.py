"""The run folder: its files, how it is read back and rendered, and what one image that fails costs."""
