"""Cleanup programs (ProX, Zhou et al. 2024, arXiv:2409.17115): grammar, executor, windows of lines, prompts. Pure."""

from curate.prox.execute import ExecutionResult, execute

__all__ = ["ExecutionResult", "execute"]
