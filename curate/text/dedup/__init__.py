"""Normalisation, shingles, signatures, clusters, Bloom filters, n-gram overlap."""
