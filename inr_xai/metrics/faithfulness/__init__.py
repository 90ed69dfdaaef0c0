"""Whether a map or mask shows what the classifier uses: metrics of its probability on changed images."""
