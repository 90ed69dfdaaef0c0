"""The evaluation of finished explanations, ours and those of other tools: metrics, their results, and tables."""
