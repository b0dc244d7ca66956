"""Figures and tables of the notebooks, in one style, and the claims that they are judged by."""
