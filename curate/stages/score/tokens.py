"""Count the tokens of every text with any Hugging Face `tokenizer.json`; special tokens are not added."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from curate.api.batch import Batch, Kernel
from curate.api.stage import Stage
from curate.config.options import TokenizerPath
from curate.schema import TEXT


@dataclass(frozen=True, kw_only=True)
class Tokens(Stage):
    """Writes token counts as a column."""

    tokenizer: TokenizerPath
    column: str = "tokens"

    @property
    def writes(self) -> Mapping[str, pa.DataType]:
        return {self.column: pa.int64()}

    def open(self) -> Kernel:
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(self.tokenizer)
        tokenizer.no_truncation()
        tokenizer.no_padding()

        def kernel(batch: Batch) -> Batch:
            texts = [text or "" for text in batch[TEXT].to_pylist()]
            encoded = tokenizer.encode_batch_fast(texts, add_special_tokens=False)
            return batch.put(self.column, pa.array(np.array([len(item) for item in encoded], np.int64)))

        return kernel
