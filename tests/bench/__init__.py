"""Measurements behind the README's figures: `make bench` runs them all and prints tables."""
