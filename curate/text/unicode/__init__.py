"""Column views, UTF-8, character classes and hashes."""
