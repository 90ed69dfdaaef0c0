"""Our masks compared with other methods: the maps of all methods are made hard at the same areas and scored alike.

The grid pointing game and `confident_photos` are here because users play the game too, on photos of their own, with
benchmarks/gridpg.py.
"""
