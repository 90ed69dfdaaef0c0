"""From images and a method to masks: `fit` (batches), `mask_module` (optimisation steps), `drawing` (stored masks)."""
