"""Models whose optimum is known, and the formulas that the papers print with a slip."""
