"""Drawn scenes: the shapes, textures and colours, and the two data sets made of them."""
