"""What golden cases cannot show of `c4_badwords`: how lists are read, and that the draw depends on the document alone."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from curate.api.batch import Batch
from curate.config.options import OptionError, build
from curate.stages.filters.c4_badwords import C4Badwords, read_lists

LISTS = Path(__file__).parents[1] / "lists"


def dropped(ordinals: list[int], **options: Any) -> list[bool]:
    columns = [pa.array(["blasted"] * len(ordinals), pa.large_string()), pa.array(ordinals, pa.uint64())]
    batch = Batch(pa.RecordBatch.from_arrays(columns, names=["text", "ordinal"]))
    stage = C4Badwords(lists=(str(LISTS / "en.txt"),), **options)
    return [bool(value) for value in stage.open()(batch).dropped]


def test_a_list_is_named_for_its_language_and_two_of_one_are_joined(tmp_path: Path) -> None:
    (tmp_path / "en").write_text("Golly\ngosh\n# a comment\n\nsm\n")
    lists = read_lists([str(LISTS / "en.txt"), str(tmp_path / "en"), str(LISTS / "ja.txt")])
    assert lists == {"en": ["blasted", "d'oh!", "golly", "gosh", "what the heck"], "ja": ["ばか"]}


def test_the_draw_depends_on_ordinal_and_seed_alone() -> None:
    ordinals = list(range(2000))
    whole = dropped(ordinals, keep_frac=0.3)
    assert dropped(ordinals[::-1], keep_frac=0.3)[::-1] == whole
    assert dropped(ordinals[500:600], keep_frac=0.3) == whole[500:600]
    assert dropped(ordinals, keep_frac=0.3, seed=1) != whole
    assert abs(float(np.mean(whole)) - 0.7) < 0.03


def test_a_larger_share_keeps_all_that_a_smaller_one_keeps() -> None:
    ordinals = list(range(500))
    some, more = dropped(ordinals, keep_frac=0.2), dropped(ordinals, keep_frac=0.5)
    assert all(few or not many for many, few in zip(more, some, strict=True))
    assert dropped(ordinals) == [True] * 500
    assert dropped(ordinals, keep_frac=1.0) == [False] * 500


def test_no_lists_is_nothing_to_do() -> None:
    with pytest.raises(OptionError, match="lists is empty"):
        build(C4Badwords, {"lists": []})
