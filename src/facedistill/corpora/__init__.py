"""Corpora: synthetic speech and recordings, and the rules that make curves of timed phones."""
