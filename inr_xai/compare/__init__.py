"""Our masks beside other methods: each method's maps made hard at the same areas and scored alike."""
