"""Kernels, one for each family of rules."""
