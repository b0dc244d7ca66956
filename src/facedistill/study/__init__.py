"""The user study as a kit: a page of pairwise comparisons, and the analysis of its answers."""
