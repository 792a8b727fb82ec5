"""Identify the language of every text, write it as columns, and keep the wanted ones.

`py3langid` (140 languages, naive Bayes, ships with its model) works offline and is the default. `fasttext` takes any
fastText model by path, such as lid.176.bin, whose scores the published thresholds (FineWeb: en >= 0.65) refer to; the
two engines' scores are not comparable, though both are probabilities.

The first `max_chars` code points decide: of 500 longer texts of web and encyclopedia, all are named alike by 10,000.
Scores are rounded to four decimals, so that the last bits of a matrix product cannot move a byte of the output.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from annotated_types import Ge, Le

from curate.api.batch import Batch, Kernel, drop_where
from curate.api.stage import Stage
from curate.config.options import AssetPath
from curate.errors import known_values
from curate.schema import TEXT

Identify = Callable[[Sequence[str]], list[tuple[str, float]]]
_UNKNOWN = "und"

_CODES = """
ace af am an ar ary arz as az ba bcl be bg bn br bs ca crh cs cy da de dz el en eo es et eu ext fa fi fo fr fuv
fy ga gcf gcr gd gl gom grc gu gug guw ha hbo he hi hr ht hu hy id ig is it ja jv ka kab kik kk km kn ko ku ky la
lb lg lij ln lo lt ltg lv mg mk ml mn mr ms mt my ne nl nn no nso oc om or pa pcm pl ps pt qu ro ru rw sa sdh
se si sk sl sn so sq sr st sv sw ta te tg th tk tl tr tt ug uk ur uz uzs vec vi vo wa wuu xh yo yue zh zu zxx
"""
PY3LANGID = frozenset(_CODES.split())


@dataclass(frozen=True, kw_only=True)
class Language(Stage):
    """The best language and its score as the columns `language` and `language_score`."""

    keep: tuple[str, ...] | None = None
    """Languages to keep, as the engine names them (ISO 639); all by default."""
    min_score: Annotated[float, Ge(0), Le(1)] | None = None
    engine: Literal["py3langid", "fasttext"] = "py3langid"
    model: AssetPath | None = None
    """A fastText model (engine fasttext only)."""
    max_chars: Annotated[int, Ge(1)] = 10_000

    reasons = ("other_language", "low_language_score")
    value_columns = {"low_language_score": "language_score"}
    writes = {"language": pa.string(), "language_score": pa.float32()}

    def __post_init__(self) -> None:
        if (self.engine == "fasttext") != (self.model is not None):
            raise ValueError("'model' and 'engine: fasttext' go together: a fastText model is given by path")
        for code in self.keep or () if self.engine == "py3langid" else ():
            if code not in PY3LANGID:
                raise ValueError(f"keep: {code!r} is no language of py3langid. {known_values(code, PY3LANGID)}")

    def open(self) -> Kernel:
        identify = _py3langid() if self.model is None else _fasttext(self.model)

        def kernel(batch: Batch) -> Batch:
            texts = [(text or "")[: self.max_chars] for text in batch[TEXT].to_pylist()]
            languages = [best if text.strip() else (_UNKNOWN, 0.0) for text, best in zip(texts, identify(texts), strict=True)]
            names = pa.array([name for name, _ in languages], pa.string())
            scores = np.round(np.array([score for _, score in languages], np.float64), 4)
            batch = batch.put("language", names).put("language_score", pa.array(scores.astype(np.float32)))
            return self._drop_unwanted(batch, names, scores)

        return kernel

    def _drop_unwanted(self, batch: Batch, names: pa.Array, scores: npt.NDArray[Any]) -> Batch:
        if self.keep is not None:
            other = pc.invert(pc.is_in(names, pa.array(self.keep, pa.string())))
            batch = drop_where(batch, other, "other_language", value=scores, detail=names)
        if self.min_score is not None:
            low = scores < self.min_score
            batch = drop_where(batch, low, "low_language_score", value=scores, limit=self.min_score, detail=names)
        return batch


def _py3langid() -> Identify:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    return lambda texts: [identifier.classify(text) for text in texts]


def _fasttext(path: str) -> Identify:
    from curate.models.fasttext import load_model, probabilities

    model = load_model(path)

    def identify(texts: Sequence[str]) -> list[tuple[str, float]]:
        rows = probabilities(model, [" ".join(text.split()) for text in texts], 1)
        best = [next(iter(row.items()), (_UNKNOWN, 0.0)) for row in rows]
        return [(label.removeprefix("__label__"), score) for label, score in best]

    return identify
