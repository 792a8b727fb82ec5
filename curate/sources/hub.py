"""A dataset of the Hugging Face hub (or a local dataset folder), read as the Parquet files it consists of.

The revision of a remote dataset must be pinned: a corpus whose input can move is not reproducible. Files are streamed
through hf:// row group by row group; nothing is downloaded as a whole.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

from curate.config.options import DatasetPath
from curate.errors import SpecError, install_hint, known_values
from curate.sources.parquet import ParquetReader


@dataclass(frozen=True, kw_only=True)
class HubSource(ParquetReader):
    """Reads a dataset's split."""

    dataset: DatasetPath
    """`org/name`, or a local dataset folder: `./folder`, `/folder`."""
    config: str | None = None
    split: str = "train"
    revision: str | None = None
    """The commit of the dataset, 40 hexadecimal digits; not needed for a local folder."""

    def __post_init__(self) -> None:
        if not os.path.isdir(self.dataset) and not re.fullmatch(r"[0-9a-f]{40}", self.revision or ""):
            raise ValueError(
                f"revision: {self.revision!r} does not pin {self.dataset!r}. Give the 40-digit commit "
                "shown under 'Files and versions' of the dataset's page"
            )

    def files(self) -> list[str]:
        try:
            from datasets import load_dataset_builder
        except ImportError as error:
            raise SpecError(f"source 'hub' needs the package 'datasets'. {install_hint('datasets')}") from error
        try:
            builder = load_dataset_builder(self.dataset, self.config, revision=self.revision)
        except (ValueError, OSError) as error:
            raise SpecError(
                f"dataset: {self.dataset!r} cannot be opened: {error}. Without a network, give a copy's folder, './NAME'."
            ) from error
        splits = builder.config.data_files or {}
        if self.split not in splits:
            raise SpecError(f"split: {self.dataset!r} has no split {self.split!r}. {known_values(self.split, splits)}")
        files = sorted(str(path) for path in splits[self.split])
        other = [path for path in files if not path.endswith(".parquet")]
        if other:
            raise SpecError(
                f"dataset: {other[0]!r} is not Parquet. Use the hub's converted copy: revision of 'refs/convert/parquet'."
            )
        return files
