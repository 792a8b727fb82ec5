"""The version of this package: pyproject.toml, run manifests and `curate --version` read it here."""

VERSION = "0.2.0"
