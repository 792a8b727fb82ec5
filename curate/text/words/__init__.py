"""Tokenizers of words, and tables that find words."""
