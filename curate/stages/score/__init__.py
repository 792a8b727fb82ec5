"""Measure a document with a model, and choose by what was measured."""
