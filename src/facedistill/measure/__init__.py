"""Metrics, their statistics, and what is measured."""
