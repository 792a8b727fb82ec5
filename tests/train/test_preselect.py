"""PreSelect: predictive strength, labels, losses that are kept and continued, and the whole recipe on tiny models."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

import curate
from curate.errors import CurateError, DataError, DriftError, SpecError
from curate.train.documents import Corpus
from curate.train.predictive_strength import choose, histogram, predictive_strength, strata_of
from curate.train.preselect import read_seeds, write_seeds
from curate.train.recipe import fit_file

SIX = np.array([75.38, 76.30, 77.27, 79.46, 80.47, 81.19])
"""Downstream scores of Llama-1 7B, Llama-2 7B, Llama-1 13B, Llama-2 13B, Llama-1 30B and 65B in the paper."""


def strength(losses: Sequence[float], downstream: Sequence[float] = tuple(SIX)) -> float:
    return float(predictive_strength(np.array([losses], np.float64), np.array(downstream))[0])


def test_a_document_that_orders_models_as_they_are_has_strength_one() -> None:
    assert strength([6, 5, 4, 3, 2, 1]) == 1.0
    assert strength([1, 2, 3, 4, 5, 6]) == 0.0
    assert strength([6, 5, 3, 4, 2, 1]) == pytest.approx(14 / 15)
    assert strength([6, 5, 4, 4, 2, 1]) == pytest.approx(14 / 15)  # a tie is not in order
    assert strength([1, 2, 3], [3.0, 2.0, 1.0]) == 1.0  # whatever the order in which models are named


def test_strength_of_random_orders_is_that_of_kendalls_tau() -> None:
    """100,000 of them: mean 0.5, P(1) = 1/720, P(>= 13/15) = 20/720, as Mahonian numbers have it."""
    losses = np.random.default_rng(0).random((100_000, 6))
    found = predictive_strength(losses, SIX)
    assert found.mean() == pytest.approx(0.5, abs=0.003)
    assert (found == 1).mean() == pytest.approx(1 / 720, abs=0.0004)
    assert (found >= 13 / 15 - 1e-9).mean() == pytest.approx(20 / 720, abs=0.0015)
    for row in range(200):
        signs = np.sign(np.subtract.outer(losses[row], losses[row]) * np.subtract.outer(-SIX, -SIX))
        tau = signs[np.triu_indices(6, 1)].sum() / 15
        assert found[row] == pytest.approx((1 + tau) / 2, abs=1e-12)


def test_models_that_cannot_be_ordered_and_losses_that_are_missing_are_refused() -> None:
    with pytest.raises(ValueError, match="not all different"):
        strength([1, 2, 3], [1.0, 2.0, 2.0])
    with pytest.raises(ValueError, match="missing"):
        strength([1, 2, float("nan")], [1.0, 2.0, 3.0])


def test_the_histogram_has_every_value_that_strength_can_take() -> None:
    assert histogram(np.array([0.0, 1.0, 1.0, 2 / 3]), 3) == {"0/3": 1, "1/3": 0, "2/3": 1, "3/3": 2}


def simulated(tokens: int, documents: int, draw: np.random.Generator) -> np.ndarray[Any, Any]:
    """Losses with a gap of one size per token between neighbours, and noise per token of each model."""
    gaps = 0.0018 * tokens * np.arange(6)[::-1]
    return gaps + draw.normal(0, 0.0316 * np.sqrt(tokens), (documents, 6))


def test_long_documents_order_any_models_and_strata_of_length_keep_them_apart() -> None:
    draw = np.random.default_rng(1)
    wanted = {50: 0.02, 200: 0.10, 800: 0.47, 3000: 0.94}
    for tokens, share in wanted.items():
        found = predictive_strength(simulated(tokens, 4000, draw), SIX)
        assert (found == 1).mean() == pytest.approx(share, abs=0.025)
    lengths = np.exp(draw.normal(5.5, 1.0, 6000)).astype(np.int64) + 20
    losses = np.concatenate([simulated(int(length), 1, draw) for length in lengths])
    found = predictive_strength(losses, SIX)
    ranks = draw.integers(0, 2**63, 6000).astype(np.uint64)
    one, ten = choose(found, strata_of(lengths, 1), ranks), choose(found, strata_of(lengths, 10), ranks)

    def ratio(chosen: Any) -> float:
        return float(np.median(lengths[chosen.positives]) / np.median(lengths[chosen.negatives]))

    assert ratio(one) > 2 and 0.9 < ratio(ten) < 1.1


def test_negatives_are_the_worst_and_as_many_as_the_positives() -> None:
    values = np.array([15, 15, 0, 14, 3, 14, 1, 14, 14, 2]) / 15
    chosen = choose(values, np.zeros(10, np.int64), np.arange(10, dtype=np.uint64))
    assert chosen.positives.tolist() == [0, 1] and chosen.negatives.tolist() == [2, 6]
    assert values[chosen.negatives].mean() < 0.5
    most = choose(np.array([1.0, 1.0, 1.0, 0.2]), np.zeros(4, np.int64), np.array([5, 1, 2, 3], np.uint64))
    assert most.positives.tolist() == [1] and most.negatives.tolist() == [3]


# -- the whole recipe -------------------------------------------------------------------------------------------------

TIDES = "the tide comes in twice a day and the pools fill with salt water while gulls wait on the wall above the harbour"
LISTS = "add to cart buy now item price shipping free returns size small medium large colour red blue green view more"


def write_texts(path: Path, number: int) -> None:
    """Prose and lists of words, in equal numbers, each of some forty words in an order of its own."""
    draw = np.random.default_rng(3)
    rows = []
    for n in range(number):
        words = (TIDES if n % 2 else LISTS).split()
        start = int(draw.integers(0, len(words)))
        chosen = (words[start:] + words) * 3 if n % 2 else draw.choice(words, 80).tolist()
        rows.append({
            "id": f"d{n}", "text": " ".join(chosen[: int(draw.integers(40, 80))]),
            "url": f"https://{'prose' if n % 2 else 'shop'}-{n // 2}.example/", "kind": "prose" if n % 2 else "shop",
        })  # fmt: skip
    pq.write_table(pa.Table.from_pylist(rows), path)


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three language models that are nearly as good as one another, and texts."""
    folder = tmp_path_factory.mktemp("family")
    write_texts(folder / "texts.parquet", 600)
    texts = [text.split() for text in pq.read_table(folder / "texts.parquet")["text"].to_pylist()[:200]]
    items: list[dict[str, Any]] = [{"context": " ".join(t[:10]), "continuation": " ".join(t[10:25])} for t in texts]
    items[0] = {"query": items[0]["context"], "choices": ["no", items[0]["continuation"]], "gold": 1}
    (folder / "items.jsonl").write_text("".join(json.dumps(item) + "\n" for item in items))
    shape = {"width": 64, "layers": 1, "heads": 2, "hidden": 64}  # heads of 32 numbers, the least that vLLM has a kernel for
    recipe = {
        "name": "tiny-lms-v1",
        "kind": "causal_lm",
        "documents": [{"source": {"parquet": {"paths": "texts.parquet"}}, "part": [0.0, 0.3]}],
        "evals": ["items.jsonl"],
        "vocab_size": 300,
        "context": 64,
        "batch": 2,
        "threads": 1,
        "models": {name: {**shape, "tokens": 128 * 20, "seed": seed} for seed, name in enumerate("abc")},
    }
    (folder / "lms.yaml").write_text(yaml.safe_dump(recipe))
    told = fit_file(str(folder / "lms.yaml"), out=str(folder / "lms"), work=str(folder / "lms-work"))
    assert told.startswith("bits per character of the right answers: a: ")
    return folder


RECIPE: dict[str, Any] = {
    "name": "tiny-v1",
    "kind": "preselect",
    "column": "preselect",
    "transform": ["newlines_to_spaces"],
    "models": {"./lms/a": 1.0, "./lms/b": 2.0, "./lms/c": 3.0},
    "seeds": [{"source": {"parquet": {"paths": "texts.parquet"}}, "part": [0.3, 1.0], "about": "words"}],
    "domain": ["kind"],
    "per_domain": 150,
    "min_chars": 50,
    "strata": 2,
    "measure": {"window": 65, "stride": 16, "batch_tokens": 512},
    "hyperparameters": {"lr": 0.5, "dim": 5, "bucket": 500},
    "vocabulary": {"min_documents": 2, "min_groups": 2},
}


def write_recipe(folder: Path, **changes: Any) -> str:
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump({**RECIPE, **changes}, sort_keys=False))
    return str(path)


def test_models_are_measured_by_their_loss_downstream(family: Path) -> None:
    """And a model that is there is not trained again."""
    bits = [json.loads((family / "lms" / name / "downstream.json").read_text())["bits_per_character"] for name in "abc"]
    assert len(set(bits)) == 3 and all(1 < value < 6 for value in bits)
    before = (family / "lms" / "a" / "model.safetensors").stat().st_mtime_ns
    fit_file(str(family / "lms.yaml"), out=str(family / "lms"), work=str(family / "lms-work"))
    assert (family / "lms" / "a" / "model.safetensors").stat().st_mtime_ns == before


@pytest.mark.slow
def test_from_seeds_to_a_scorer_and_on_from_what_is_there(family: Path, tmp_path: Path) -> None:
    recipe = write_recipe(family)
    fit_file(recipe, out=str(tmp_path / "one"), work=str(tmp_path / "work"), inline=True)
    found = json.loads((tmp_path / "one" / "metrics.json").read_text())
    assert (
        found["seeds"] == {"drawn": 300, "unreadable": 0, "short": 0, "not_drawn": 122}
        and sum(found["predictive_strength"].values()) == 300
    )
    assert list(found["bits_per_character"]) == ["lms_a", "lms_b", "lms_c"] and found["mean_strength_of_negatives"] < 0.5
    assert 0.9 < found["median_chars"]["positives"] / found["median_chars"]["negatives"] < 1.1
    scores = curate.load_scorer(str(tmp_path / "one"))([TIDES, LISTS, None])["preselect"]
    assert np.isfinite(scores[:2]).all() and np.isnan(scores[2])

    part = tmp_path / "work" / "losses" / "lms_b" / "part-00000.parquet"
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "work").rglob("*.parquet")}
    part.unlink()
    fit_file(recipe, out=str(tmp_path / "two"), work=str(tmp_path / "work"), inline=True)
    after = {path: path.stat().st_mtime_ns for path in (tmp_path / "work").rglob("*.parquet")}
    assert {path for path in before if before[path] != after[path]} == {part}
    for file in ("model.bin", "card.md", "metrics.json"):
        assert (tmp_path / "two" / file).read_bytes() == (tmp_path / "one" / file).read_bytes()

    with pytest.raises(DriftError, match=r"seeds drawn with another per_domain. Remove it, or give another --work"):
        fit_file(write_recipe(family, per_domain=10), out=str(tmp_path / "three"), work=str(tmp_path / "work"), inline=True)
    longer = {**RECIPE["measure"], "stride": 32}
    with pytest.raises(DriftError, match=r"was measured with another stride"):
        fit_file(write_recipe(family, measure=longer), out=str(tmp_path / "three"), work=str(tmp_path / "work"), inline=True)

    table = pq.read_table(part)
    pq.write_table(table.slice(1), part)
    with pytest.raises(DataError, match=r"document '\w+' has no loss under .*lms/b' .* Remove that file to measure it again"):
        fit_file(write_recipe(family), out=str(tmp_path / "three"), work=str(tmp_path / "work"), inline=True)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"models": {"./lms/a": 1.0, "./lms/b": 2.0}}, "2 give too few orders to tell documents apart"),
        ({"models": {"./lms/a": None, "./lms/b": None, "some/model": None}}, r"'some/model' has no downstream.json"),
        ({"models": {"./lms/a": 1.0, "./lms/b": 1.0, "./lms/c": 2.0}}, "are not all different"),
        ({"min_chars": 10_000}, "no document of .* has 10000 characters. Lower min_chars"),
        ({"measure": {"window": 100, "stride": 10}}, "window: 100 is more than .* sees, 65 here. Lower it, for all models"),
        ({"measure": {"window": 10, "stride": 10}}, r"stride \(10\) must be at least 1 and less than window \(10\)"),
    ],
)
def test_a_recipe_that_cannot_be_carried_out_is_refused(
    family: Path, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises((CurateError, SpecError), match=message):
        fit_file(write_recipe(family, **changes), out=str(tmp_path / "out"), work=str(tmp_path / "work"), inline=True)


def copied(family: Path, to: Path) -> Path:
    """The family in a folder of its own, where a test may change it."""
    shutil.copytree(family, to, ignore=shutil.ignore_patterns("lms-work"))
    return to


def test_losses_are_those_of_the_texts_that_are_judged(family: Path, tmp_path: Path) -> None:
    """Other excerpts, other texts in the files: neither is judged by losses that are there already."""
    folder, work = copied(family, tmp_path / "family"), tmp_path / "work"
    fit_file(write_recipe(folder, excerpt_chars=120), out=str(tmp_path / "one"), work=str(work), inline=True)
    shutil.rmtree(work / "seeds")
    with pytest.raises(DriftError, match="was measured with another documents"):
        fit_file(write_recipe(folder, excerpt_chars=200), out=str(tmp_path / "two"), work=str(work), inline=True)
    table = pq.read_table(folder / "texts.parquet")
    pq.write_table(table.slice(1), folder / "texts.parquet")
    with pytest.raises(DriftError, match="seeds drawn with another files"):
        fit_file(write_recipe(folder, excerpt_chars=200), out=str(tmp_path / "three"), work=str(work), inline=True)


def test_parts_of_a_draw_that_was_cut_short_are_not_mixed_in(tmp_path: Path) -> None:
    def corpus(number: int) -> Corpus:
        names = [f"d{n}" for n in range(number)]
        return Corpus(pa.array(names, pa.large_string()), names, names, names)

    write_seeds(tmp_path / "seeds", corpus(5000), {"draw": 1}, {})
    (tmp_path / "seeds" / "seeds.json").unlink()
    write_seeds(tmp_path / "seeds", corpus(10), {"draw": 2}, {})
    assert read_seeds(tmp_path / "seeds", {"draw": 2}).ids == corpus(10).ids


def test_a_family_of_other_documents_or_settings_is_refused_and_other_evals_are_measured(family: Path, tmp_path: Path) -> None:
    folder = copied(family, tmp_path / "family")
    recipe = yaml.safe_load((folder / "lms.yaml").read_text())

    def fit(**changes: Any) -> str:
        (folder / "lms.yaml").write_text(yaml.safe_dump({**recipe, **changes}))
        return fit_file(str(folder / "lms.yaml"), out=str(folder / "lms"), work=str(tmp_path / "work"))

    weights = (folder / "lms" / "a" / "model.safetensors").read_bytes()
    (folder / "other.jsonl").write_text(json.dumps({"context": "add to cart", "continuation": "buy now"}) + "\n")
    before = json.loads((folder / "lms" / "a" / "downstream.json").read_text())
    fit(evals=["other.jsonl"])
    after = json.loads((folder / "lms" / "a" / "downstream.json").read_text())
    assert after["items"] == 1 and after["bits_per_character"] != before["bits_per_character"]
    assert (folder / "lms" / "a" / "model.safetensors").read_bytes() == weights
    with pytest.raises(DriftError, match="models of another family: vocab_size differ"):
        fit(vocab_size=310)
    with pytest.raises(DriftError, match="models of another family: documents differ"):
        fit(documents=[{**recipe["documents"][0], "part": [0.0, 0.2]}])
    with pytest.raises(DriftError, match=r"a was trained with .* Rename one of them"):
        fit(lr=0.5)
    (folder / "bad.jsonl").write_text('{"context": "a", "continuation": "b"}\nno json\n')
    with pytest.raises(SpecError, match=r"bad.jsonl:2 is not JSON"):
        fit(evals=["bad.jsonl"])
    (folder / "bad.jsonl").write_text('{"question": "a"}\n')
    with pytest.raises(SpecError, match="has neither query, choices, gold nor context, continuation"):
        fit(evals=["bad.jsonl"])
    with pytest.raises(SpecError, match=r"width \(15\) must be heads \(2\) times an even number"):
        fit(models={"a": {**recipe["models"]["a"], "width": 15}})


@pytest.mark.slow
def test_vllm_gives_the_losses_that_torch_gives(family: Path, tmp_path: Path) -> None:
    """Prompt log-probabilities, long documents in windows too: equal to 1e-3 of a nat per token."""
    if find_spec("vllm") is None:
        pytest.skip("no vLLM here: 'make test-slow' installs it")
    measure = {**RECIPE["measure"], "window": 62}
    losses = {}
    for backend in ("vllm", "torch"):
        work = tmp_path / backend
        recipe = write_recipe(family, measure={**measure, "backend": backend}, per_domain=20)
        command: list[str | Path] = [
            Path(sys.executable).parent / "curate",
            "fit",
            recipe,
            "--inline",
            "--out",
            work / "out",
            "--work",
            work,
        ]
        environment = {**os.environ, "VLLM_CPU_KVCACHE_SPACE": "1", "HF_HUB_OFFLINE": "1"}
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        files = sorted((work / "losses").glob("*/part-*.parquet"))
        assert len(files) == 3, done.stderr[-3000:]
        losses[backend] = pa.concat_tables([pq.read_table(file) for file in files])
    tokens = losses["torch"]["tokens"].to_numpy()
    assert tokens.max() > 62
    apart = np.abs(losses["vllm"]["nats"].to_numpy() - losses["torch"]["nats"].to_numpy()) / tokens
    assert apart.max() < 1e-3


@pytest.mark.slow
@pytest.mark.ray
def test_ray_gives_what_one_process_gives(family: Path, tmp_path: Path) -> None:
    """A model per actor; seeds in parts of two thousand, here one."""
    recipe = write_recipe(family)
    fit_file(recipe, out=str(tmp_path / "ray"), work=str(tmp_path / "ray-work"), workers=2)
    fit_file(recipe, out=str(tmp_path / "one"), work=str(tmp_path / "one-work"), inline=True)
    for model in "abc":
        file = Path("losses") / f"lms_{model}" / "part-00000.parquet"
        ray, one = (pq.read_table(tmp_path / work / file) for work in ("ray-work", "one-work"))
        np.testing.assert_allclose(ray["nats"].to_numpy(), one["nats"].to_numpy(), rtol=1e-5)
