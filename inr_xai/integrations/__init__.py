"""The importance maps of masks as methods of other packages, whose tools take them as their own.

Each module is imported by its name, since it may need the package that it is for.
"""
