"""MATES (Yu et al. 2024, arXiv:2406.06046): probe, fit an influence model, select, train, again."""
