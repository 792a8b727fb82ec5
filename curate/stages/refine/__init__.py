"""Stages that ask a refiner for an edit program and apply it."""
