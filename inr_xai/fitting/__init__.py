"""Fits masks to images: `fit` (batches), `mask_module` (optimisation steps), `drawing` (stored masks)."""
