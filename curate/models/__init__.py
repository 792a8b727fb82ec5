"""Scorers: a card describes a model, a Scorer turns texts into columns of numbers."""
