"""Stages that compare documents with each other, or with evaluation items."""
