"""From images and a method to masks: `fit` (a batch), `mask_module` (a step), `drawing` (the masks that are stored)."""
