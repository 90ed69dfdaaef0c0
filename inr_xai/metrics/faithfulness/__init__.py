"""Whether a map or mask shows what the classifier uses: the class is asked of perturbed images."""
