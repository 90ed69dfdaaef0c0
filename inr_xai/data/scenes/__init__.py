"""Drawn scenes: shapes, textures and colours, and the two data sets that are made of them."""
