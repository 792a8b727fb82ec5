"""Heuristic rules on one document at a time."""
