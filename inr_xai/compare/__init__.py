"""Our masks compared with other methods: the maps of all methods are made hard at the same areas and scored alike."""
