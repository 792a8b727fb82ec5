"""Refiners that decide lines: pairs made from pages, the prompt, training, and the card."""

from __future__ import annotations

import json
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

import curate
from curate.errors import DriftError, SpecError
from curate.events import Silent
from curate.lm.finetune import Example, Tuning, padded, tune
from curate.lm.model import CausalLM, Shape, load, save
from curate.lm.pair_scoring import score_queries
from curate.lm.query import Query
from curate.lm.train import torch_threads
from curate.models.lm_types import load_encoder
from curate.models.refiner import load_refiner_card
from curate.prox import line_prompt
from curate.prox.align import label_lines, line_f1, word_f1
from curate.prox.line_masks import removal, removed_lines, runs
from curate.prox.line_prompt import combined, line_prompts, overlapping_prompts, program_ids, shown_lines
from curate.train.init_from_base import begun
from curate.train.recipe import fit_file
from curate.train.training_pages import TrainingPage

MASKS = st.lists(st.booleans(), min_size=1, max_size=60)

# --- pages and what is wanted of them


def labelled(text: str, gold: str) -> list[bool]:
    found = label_lines(text.split("\n"), gold)
    assert found is not None
    return [bool(value) for value in found]


def test_lines_of_the_main_text_stay_and_menus_go() -> None:
    text = "Home\nNews\nThe tide is out\nCrabs wait under the weed.\nShare\nAbout us"
    assert labelled(text, "The tide is out. Crabs wait under the weed.") == [False, False, True, True, False, False]


def test_a_menu_entry_wins_no_word_from_the_sentence_it_stands_in() -> None:
    assert labelled("weed\nCrabs wait under the weed today\nweed", "Crabs wait under the weed today") == [False, True, False]


def test_a_line_that_stands_twice_is_matched_where_its_neighbours_are() -> None:
    text = "Crabs\nShare\nA page on crabs\nCrabs\nThey wait under weed"
    assert labelled(text, "A page on crabs\nCrabs\nThey wait under weed") == [False, False, True, True, True]


def test_a_blank_line_stays_between_lines_that_stay() -> None:
    assert labelled("Menu\n\nOne here\n\nTwo there\n***\nFooter", "One here Two there") == [
        False,
        False,
        True,
        True,
        True,
        False,
        False,
    ]


def test_half_of_the_words_are_not_enough() -> None:
    assert labelled("red green blue grey", "red green") == [False]
    assert labelled("red green blue grey", "red green blue") == [True]


def test_scripts_without_blanks_are_aligned_character_by_character() -> None:
    assert labelled("首页\n潮水退去之后螃蟹躲在石头下面\n联系我们", "潮水退去之后，螃蟹躲在石头下面。") == [False, True, False]


def test_line_f1_on_cases_done_by_hand() -> None:
    def f1(one: set[int], other: set[int]) -> float:
        masks = (np.array([line in some for line in range(5)]) for some in (one, other))
        return line_f1(*masks)

    assert f1({1, 2, 3}, {2, 3, 4}) == pytest.approx(2 / 3)
    assert (f1(set(), set()), f1(set(), {1})) == (1.0, 0.0)


def test_word_f1_counts_bags_of_words() -> None:
    assert word_f1("the tide the", "The tide") == pytest.approx(4 / 5)
    assert (word_f1("", "..."), word_f1("a", "")) == (1.0, 0.0)


@given(MASKS)
def test_a_program_of_removals_says_which_lines_go(mask: list[bool]) -> None:
    assert removed_lines(removal(mask), len(mask)) == mask
    assert [line for first, last in runs(mask) for line in range(first, last + 1)] == [n for n, gone in enumerate(mask) if gone]


def test_pairs_have_a_program_that_leaves_the_reference() -> None:
    rows = [
        ("Home\nCrabs wait under the weed.\nShare", "Crabs wait under the weed."),
        ("Crabs", None),
        ("Crabs", "..."),
        ("\n".join(["word", "menu"] * 5000), "word " * 5000),  # more runs than a program has calls
        (None, "Crabs"),
    ]
    table = pa.table({"text": pa.array([text for text, _ in rows], pa.large_string()), "gold": [gold for _, gold in rows]})
    found = curate.apply("label_lines", table, reference="gold").to_pylist()
    first = found[0]
    assert first["program"] == "remove_lines(line_start=0, line_end=0)\nremove_lines(line_start=2, line_end=2)"
    assert (first["content_frac"], first["reference_f1"]) == (pytest.approx(5 / 7), 1.0)
    reasons = ["no_reference", "no_reference", "program_fails", "no_reference"]
    assert [row["drop"] and row["drop"]["reason"] for row in found] == [None, *reasons]
    assert [row["program"] for row in found[1:]] == [None] * 4


# --- the prompt


class Letters:
    """A tokenizer whose tokens are letters, numbered after the special ones: enough to see what stands where."""

    def encode_batch(self, texts: list[str], add_special_tokens: bool) -> list[Any]:
        assert not add_special_tokens
        return [type("Encoding", (), {"ids": [len(line_prompt.SPECIAL) + ord(letter) for letter in text]}) for text in texts]


def names(ids: Any) -> list[str]:
    special = len(line_prompt.SPECIAL)
    return [line_prompt.SPECIAL[i] if i < special else chr(i - special) for i in ids]


def test_a_prompt_shows_lines_and_their_marks() -> None:
    (prompt,) = line_prompts(shown_lines(["ab", "", "c d"], Letters(), 16), 100)
    shown = ["<w0>", "a", "b", "[000]", "[001]", "<w2>", "c", " ", "d", "[002]"]
    assert names(prompt.ids) == ["[bos]", "[doc]", "[first]", "<w0>", *shown, "[/doc]", "[end]", "<w0>", "[doc]"]
    assert [names(prompt.ids)[place] for place in prompt.positions] == ["[000]", "[001]", "[002]"]


def test_a_window_says_how_many_lines_stand_before_and_after_it() -> None:
    prompts = line_prompts(shown_lines(["abcdefgh"] * 40, Letters(), 16), 100)
    middle = prompts[2]
    assert middle.first == 2 * middle.stop // 3 == 18
    assert names(middle.ids)[2:4] == ["[next]", "<w8>"]  # 18 lines: 2 ** 4.2
    assert names(middle.ids)[middle.positions[-1] + 2 : middle.positions[-1] + 4] == ["[more]", "<w7>"]  # 13 lines: 2 ** 3.7


def test_of_a_long_line_the_first_and_the_last_tokens_are_shown() -> None:
    (shown,) = shown_lines(["abcdefghijklmnop"], Letters(), 8)
    assert names(shown) == ["<w0>", "a", "b", "c", "d", "[cut]", "n", "o", "p"]


@given(st.lists(st.integers(0, 20), min_size=1, max_size=400), st.integers(40, 700))
def test_every_line_is_in_one_window_and_no_window_is_too_long(sizes: list[int], window: int) -> None:
    shown = [list(range(400, 400 + size)) for size in sizes]
    prompts = line_prompts(shown, window)
    assert [line for prompt in prompts for line in range(prompt.first, prompt.stop)] == list(range(len(sizes)))
    assert max(len(prompt.ids) for prompt in prompts) <= window
    assert max(prompt.stop - prompt.first for prompt in prompts) <= line_prompt.MARKS
    for prompt, following in pairwise(prompts):  # greedy: the next line would not have fitted
        full = len(prompt.ids) + len(shown[following.first]) + 1 > window
        assert full or prompt.stop - prompt.first == line_prompt.MARKS


def test_lines_in_two_windows_are_judged_by_the_one_whose_edge_is_further() -> None:
    prompts = overlapping_prompts([[400] * 20] * 30, 240)
    assert [(p.first, p.stop) for p in prompts] == [(0, 11), (11, 22), (22, 30), (5, 16), (16, 27)]
    shares = [np.full(len(p.positions), value, np.float32) for p, value in zip(prompts, (0.9, 0.9, 0.9, 0.1, 0.1), strict=True)]
    found = combined(prompts, shares, 30)
    assert found[[0, 4, 29]] == pytest.approx([0.9] * 3)  # in one window only
    assert found[10] < 0.5 < found[5]  # line 10 is the last of the first window, line 5 the first of the fourth
    assert np.isnan(combined(prompts[:1], shares[:1], 30)[11:]).all()
    broken = [*shares[:1], np.full(11, np.nan, np.float32), *shares[2:]]
    assert combined(prompts, broken, 30)[11:16] == pytest.approx([0.1] * 5)


def test_a_program_in_tokens_reads_as_its_text() -> None:
    ids = program_ids([True, True, False, True])
    assert (
        "".join(names(ids)[:-1])
        == "remove_lines(line_start=[000], line_end=[001])\nremove_lines(line_start=[003], line_end=[003])\n"
    )
    assert names(ids)[-1] == "[eos]"
    assert removed_lines("".join(names(ids)[:-1]), 4) == [True, True, False, True]
    assert names(program_ids([False])) == ["keep_chunk()", "[eos]"]


# --- training


SHAPE = Shape(vocab_size=600, width=32, layers=2, heads=1, hidden=48, context=64, bos=0)
TUNING = Tuning(tokens=6_000, batch_tokens=256, lr=1e-2, matrix_lr=0.02, warmup_steps=5)


def copying(number: int) -> list[Example]:
    """Whether a sequence has a 500 in it is what must be said at its beginning."""
    draw = np.random.Generator(np.random.PCG64(number))
    rows = []
    for _ in range(60):
        ids = draw.integers(300, 400, draw.integers(4, 12))
        there = draw.random() < 0.5
        ids[draw.integers(0, len(ids))] = 500 if there else 301
        target = np.array([line_prompt.KEEP_ID if there else line_prompt.REMOVE_ID])
        rows.append(Example(ids, np.zeros(1, np.int64), target, np.ones(1, np.float32), causal=False))
    return rows


def tuned(folder: Path, epoch: Any = copying, tuning: Tuning = TUNING) -> CausalLM:
    model = CausalLM(SHAPE, 1)
    tune(model, tuning, epoch, folder, {"of": "a test"}, threads=1)
    return model


def test_what_is_asked_for_at_places_is_learnt(tmp_path: Path) -> None:
    model = tuned(tmp_path)
    pair = (line_prompt.KEEP_ID, line_prompt.REMOVE_ID)
    yes, no = frozenset({line_prompt.KEEP_ID}), frozenset({line_prompt.REMOVE_ID})
    queries = [Query(e.ids.tolist(), [0, len(e.ids) - 1], pair, yes, no) for e in copying(99)]
    wanted = [e.targets[0] == line_prompt.KEEP_ID for e in copying(99)]
    found = score_queries(model, queries, "cpu")
    assert np.mean([(one.positions[0] > 0.5) == want for one, want in zip(found, wanted, strict=True)]) > 0.85
    # The last place is the end here, so both ways to ask have one answer; alone or in company makes no difference.
    assert [one.end for one in found] == pytest.approx([float(one.positions[1]) for one in found], abs=1e-5)
    assert score_queries(model, queries[7:8], "cpu")[0].positions == pytest.approx(found[7].positions, abs=1e-5)


def test_a_sequence_read_forwards_sees_nothing_ahead_and_none_sees_what_fills_up() -> None:
    def hidden(last: int, filler: int) -> torch.Tensor:
        none = (np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.float32))
        rows = [Example(np.array([300, 301, 302, last]), *none, causal=causal) for causal in (True, False)]
        rows.append(Example(np.arange(300, 310), *none, causal=False))
        with torch.inference_mode():
            return CausalLM(SHAPE, 1).hidden(*padded(rows, filler))

    before, after, filled = hidden(303, 0), hidden(304, 0), hidden(303, 7)
    changed = (before != after).any(dim=-1)[:, :4]
    assert changed.tolist() == [[False, False, False, True], [True] * 4, [False] * 4]
    assert torch.equal(before[:2, :4], filled[:2, :4]) and torch.equal(before[2], filled[2])


def test_training_that_was_killed_ends_with_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("curate.lm.finetune._CHECKPOINT_STEPS", 7)
    whole = tuned(tmp_path / "whole")

    def dying(number: int) -> list[Example]:
        if number == 2:
            raise KeyboardInterrupt
        return copying(number)

    with pytest.raises(KeyboardInterrupt):
        tuned(tmp_path / "cut", dying)
    again = tuned(tmp_path / "cut")
    assert all(torch.equal(a, b) for a, b in zip(whole.state_dict().values(), again.state_dict().values(), strict=True))


def test_a_checkpoint_of_other_training_is_refused(tmp_path: Path) -> None:
    tuned(tmp_path)
    with pytest.raises(SpecError, match=r"was trained with lr 0\.01"):
        tuned(tmp_path, tuning=Tuning(tokens=6_000, batch_tokens=256, lr=2e-2, matrix_lr=0.02, warmup_steps=5))


def made_up_page(draw: np.random.Generator) -> tuple[str, list[bool]]:
    """Menus of one word a line between articles of many of the same words; and which lines are of menus."""
    words = ["tide", "crab", "weed", "rock", "pool", "salt", "wave", "sand", "shell", "gull", "harbour", "lantern", "anchor"]
    lines, menu = [], []
    for block in range(4):
        for _ in range(int(draw.integers(2, 6))):
            lines.append(" ".join(draw.choice(words, 1 if block % 2 == 0 else int(draw.integers(9, 16)))))
            menu.append(block % 2 == 0)
    return "\n".join(lines), menu


def page_of(text: str, remove: str) -> TrainingPage:
    """A word a line, and of each line whether it goes."""
    lines = text.split()
    gone = np.array([mark == "-" for mark in remove])
    return TrainingPage(lines, [[300 + len(line)] for line in lines], gone, np.arange(len(lines)), 1 - gone.astype(np.float32))


def test_a_page_gets_the_content_of_another_between_its_own_menus() -> None:
    menus, article = page_of("home news tide ad crab about", "--+-+-"), page_of("start weed share rock end", "-+-+-")
    mixed = menus.with_content_of(article)
    assert list(mixed.lines) == ["home", "news", "weed", "share", "rock", "about"]
    assert mixed.remove.tolist() == [True, True, False, True, False, True]
    assert mixed.keep.tolist() == [0, 0, 1, 0, 1, 0]
    assert list(mixed.shown) == [[300 + len(line)] for line in mixed.lines]
    assert mixed.words.tolist() == [0, 1, 1, 2, 3, 5]
    nothing = page_of("home about", "--")
    assert list(menus.with_content_of(nothing).lines) == ["home", "news", "about"]
    assert list(nothing.with_content_of(article).lines) == ["weed", "share", "rock", "home", "about"]


TOKENIZER = Path(__file__).parents[2] / "scorers" / "bpe-v1" / "tokenizer.json"
BASE = Shape(vocab_size=16_384, width=32, layers=1, heads=2, hidden=32, context=400, bos=0, kv_heads=1, tied=False)


@pytest.mark.slow
def test_a_model_to_begin_from_says_the_same_under_other_ids(tmp_path: Path) -> None:
    base = CausalLM(BASE, seed=4)
    save(base, tmp_path / "base", TOKENIZER)
    given = Tokenizer.from_file(str(TOKENIZER))
    given.enable_padding(pad_id=7)  # as some tokenizers come: lines of a page would be filled up to the longest
    given.enable_truncation(3)
    given.save(str(tmp_path / "base" / "tokenizer.json"))
    model = begun(tmp_path / "base", tmp_path / "tokenizer.json", dropout=0.0, seed=1)
    before, after = Tokenizer.from_file(str(TOKENIZER)), load_encoder(str(tmp_path), None)
    text, moved = "Crabs [keep] waiting under the weed. [000]", len(line_prompt.SPECIAL)
    ids = before.encode(text, add_special_tokens=False).ids
    assert after.encode(text, add_special_tokens=False).ids == [number + moved for number in ids]
    assert [after.token_to_id(token) for token in line_prompt.SPECIAL] == list(range(moved))
    with torch.inference_mode():
        found = model(torch.tensor([[number + moved for number in ids]]))
        assert torch.allclose(found[..., moved:], base(torch.tensor([ids])), atol=1e-6)


@pytest.mark.slow
def test_a_refiner_can_begin_from_a_model(recipe: Path) -> None:
    save(CausalLM(BASE, seed=4), recipe / "base", TOKENIZER)
    options = {
        **yaml.safe_load((recipe / "recipe.yaml").read_text()),
        "name": "begun-v1",
        "base": "./base",
        "lr": 1e-2,
        "matrix_lr": 0.02,
    }
    (recipe / "begun.yaml").write_text(yaml.safe_dump(options))
    fit_file(str(recipe / "begun.yaml"), out=str(recipe / "begun"), work=str(recipe / "begun-work"), inline=True)
    assert load(recipe / "begun").shape.kv_heads == 1
    assert right_on_unseen_pages(recipe / "begun") > 0.85
    save(CausalLM(BASE, seed=5), recipe / "base", TOKENIZER)
    with pytest.raises(DriftError, match="this recipe and another base"):
        fit_file(str(recipe / "begun.yaml"), out=str(recipe / "begun"), work=str(recipe / "again"), inline=True)
    options["window"] = 300
    (recipe / "long.yaml").write_text(yaml.safe_dump(options))
    with pytest.raises(SpecError, match=r"window \(300\): with a program 450 tokens, and base sees 400"):
        fit_file(str(recipe / "long.yaml"), out=str(recipe / "long"), work=str(recipe / "long-work"), inline=True)


def test_a_tokenizer_that_cannot_be_extended_is_refused(tmp_path: Path) -> None:
    plain = json.loads(TOKENIZER.read_text())
    (tmp_path / "tokenizer.json").write_text(json.dumps({**plain, "model": {**plain["model"], "type": "Unigram"}}))
    with pytest.raises(SpecError, match="only BPE can be extended"):
        begun(tmp_path, tmp_path / "out.json", dropout=0.0, seed=1)
    vocabulary = {**plain["model"]["vocab"], "[keep]": 16_384}
    (tmp_path / "tokenizer.json").write_text(json.dumps({**plain, "model": {**plain["model"], "vocab": vocabulary}}))
    with pytest.raises(SpecError, match=r"tokens that a refiner's prompt is made of: \[keep\]"):
        begun(tmp_path, tmp_path / "out.json", dropout=0.0, seed=1)


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe over the pages of thirty sites, and what it gives."""
    folder = tmp_path_factory.mktemp("pairs")
    draw = np.random.Generator(np.random.PCG64(5))
    rows = []
    for number in range(120):
        text, menu = made_up_page(draw)
        rows.append((f"{number}", text, f"https://site{number % 30}.example/{number}", removal(menu)))
    columns = dict(zip(("id", "text", "url", "program"), map(list, zip(*rows, strict=True)), strict=True))
    pq.write_table(pa.table(columns), folder / "pairs.parquet")
    options = {
        "name": "menus-v1", "kind": "prox",
        "documents": [{"source": {"parquet": {"paths": "pairs.parquet"}}, "about": "made up"}],
        "width": 64, "layers": 2, "heads": 2, "hidden": 128, "vocab_size": 600,
        "dropout": 0.0, "hidden_frac": 0.0, "min_groups": 5, "window": 256,
        "tokens": 400_000, "batch_tokens": 512, "lr": 1.0e-2, "validation": 0.2, "threads": 1,
    }  # fmt: skip
    (folder / "recipe.yaml").write_text(yaml.safe_dump(options))
    fit_file(str(folder / "recipe.yaml"), out=str(folder / "out"), work=str(folder / "work"), inline=True)
    return folder


@pytest.mark.slow
def test_a_recipe_gives_a_refiner_that_its_card_describes(recipe: Path) -> None:
    card = load_refiner_card(str(recipe / "out"))
    metrics = json.loads((recipe / "out" / "metrics.json").read_text())
    assert (card.window, card.threshold) == (256, metrics["threshold"])
    assert metrics["thresholds"][str(card.threshold)]["line_f1"] > 0.85
    assert metrics["groups"] == {"training": 24, "validation": 6}
    assert "made up" in (recipe / "out" / "card.md").read_text()


@pytest.mark.slow
def test_a_refiner_cleans_pages_it_has_not_seen(recipe: Path) -> None:
    assert right_on_unseen_pages(recipe / "out") > 0.85


@pytest.mark.slow
def test_a_refiner_learns_from_what_others_hold_for_likely(recipe: Path, tmp_path: Path) -> None:
    """A fifth of the lines is labelled wrong. Teachers that are done are not trained or asked again, and the student of a run
    that goes on has the same bytes."""
    table = pq.read_table(recipe / "pairs.parquet")
    draw = np.random.Generator(np.random.PCG64(1))
    programs = []
    for program, text in zip(table["program"].to_pylist(), table["text"].to_pylist(), strict=True):
        gone = np.array(removed_lines(program, text.count("\n") + 1), np.bool_)
        programs.append(removal((gone ^ (draw.random(len(gone)) < 0.2)).tolist()))
    pq.write_table(table.set_column(table.column_names.index("program"), "program", [programs]), tmp_path / "pairs.parquet")
    options = {**yaml.safe_load((recipe / "recipe.yaml").read_text()), "tokens": 150_000, "teachers": 2, "words_frac": 0.4}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(options))

    told: Counter[str] = Counter()
    threads: set[int] = set()

    class Counted(Silent):
        def advance(self, name: str, item: str, rows: int | None) -> None:
            told[name] += 1

        def note(self, message: str) -> None:
            threads.add(torch.get_num_threads())

    def fit() -> bytes:
        recipe, out, work = (str(tmp_path / name) for name in ("recipe.yaml", "out", "work"))
        with torch_threads(8):  # as a machine may have; the recipe says one, on which the last bits of every pass depend
            fit_file(recipe, out=out, work=work, inline=True, listener=Counted())
        return (tmp_path / "out" / "model.safetensors").read_bytes()

    weights = fit()
    assert right_on_unseen_pages(tmp_path / "out") > 0.85
    assert threads == {1}
    assert told == {"teacher-0": 100, "teacher-1": 100, "train": 100}  # percent
    likely = [tmp_path / "work" / f"teacher-{number}" / "likely.npy" for number in range(2)]
    assert (np.load(likely[0]) != np.load(likely[1])).any()
    before = [path.stat().st_mtime_ns for path in likely]
    (tmp_path / "work" / "checkpoint.pt").unlink()
    assert fit() == weights
    assert [path.stat().st_mtime_ns for path in likely] == before


@pytest.mark.slow
def test_the_threshold_is_chosen_by_the_items_that_are_named(recipe: Path, tmp_path: Path) -> None:
    options = yaml.safe_load((recipe / "recipe.yaml").read_text())
    source = {"parquet": {"paths": str(recipe / "pairs.parquet")}}
    items = [{"source": source, "part": part} for part in ([0.0, 0.5], [0.5, 1.0])]

    def validation(choose_by: list[int]) -> int:
        name = f"by-{len(choose_by)}-{sum(choose_by)}-v1"
        plain = {**options, "name": name, "documents": items, "choose_by": choose_by, "tokens": 5000, "min_groups": 3}
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(plain))
        fit_file(str(tmp_path / f"{name}.yaml"), out=str(tmp_path / name), work=str(tmp_path / f"{name}-work"), inline=True)
        documents: int = json.loads((tmp_path / name / "metrics.json").read_text())["documents"]["validation"]
        return documents

    first, second = validation([0]), validation([1])
    assert first > 0
    assert second > 0
    assert validation([]) == validation([0, 1]) == first + second
    with pytest.raises(SpecError, match=r"choose_by: \[2\]: documents has 2 items, from 0"):
        validation([2])


def right_on_unseen_pages(scorer: Path) -> float:
    """The share of lines that are decided right."""
    draw = np.random.Generator(np.random.PCG64(6))
    pages = [made_up_page(draw) for _ in range(20)]
    table = pa.table({"text": pa.array([text for text, _ in pages], pa.large_string())})
    found = curate.apply("prox_chunk", table, scorer=str(scorer), engine="torch", self_test=False).to_pylist()
    assert {row["prox_status"] for row in found} == {"edited"}
    right = [
        gone == is_menu
        for row, (text, menu) in zip(found, pages, strict=True)
        for gone, is_menu in zip(removed_lines(row["prox_program"], text.count("\n") + 1), menu, strict=True)
    ]
    return float(np.mean(right))


@pytest.mark.slow
def test_no_piece_of_the_vocabulary_comes_from_few_sites(recipe: Path) -> None:
    vocabulary = Tokenizer.from_file(str(recipe / "out" / "tokenizer.json")).get_vocab()
    assert "Ġharbour" in vocabulary
    assert list(line_prompt.SPECIAL) == sorted(line_prompt.SPECIAL, key=vocabulary.__getitem__)
    assert [vocabulary[token] for token in line_prompt.SPECIAL] == list(range(len(line_prompt.SPECIAL)))


@pytest.mark.slow
def test_a_refiner_is_not_overwritten_by_another(recipe: Path, tmp_path: Path) -> None:
    options = {**yaml.safe_load((recipe / "recipe.yaml").read_text()), "tokens": 70_000}
    (recipe / "other.yaml").write_text(yaml.safe_dump(options))
    with pytest.raises(DriftError, match="trained from a recipe that says something else"):
        fit_file(str(recipe / "other.yaml"), out=str(recipe / "out"), work=str(tmp_path), inline=True)


@pytest.mark.slow
def test_weights_that_are_not_the_cards_are_refused(recipe: Path, tmp_path: Path) -> None:
    for name in ("card.md", "config.json", "tokenizer.json"):
        (tmp_path / name).write_bytes((recipe / "out" / name).read_bytes())
    with pytest.raises(SpecError, match=r"model\.safetensors is not in"):
        load_refiner_card(str(tmp_path))
    (tmp_path / "model.safetensors").write_bytes((recipe / "out" / "model.safetensors").read_bytes()[:-1] + b"x")
    with pytest.raises(SpecError, match="the card is of weights with sha256"):
        load_refiner_card(str(tmp_path))


@pytest.mark.slow
def test_a_program_that_cannot_be_read_is_named(recipe: Path, tmp_path: Path) -> None:
    table = pq.read_table(recipe / "pairs.parquet")
    programs = [*table["program"].to_pylist()[:-1], "remove_lines(1"]
    pq.write_table(table.set_column(3, "program", [programs]), tmp_path / "pairs.parquet")
    (tmp_path / "recipe.yaml").write_text((recipe / "recipe.yaml").read_text())
    with pytest.raises(SpecError, match="document '119': its program cannot be read"):
        fit_file(str(tmp_path / "recipe.yaml"), out=str(tmp_path / "out"), work=str(tmp_path / "work"), inline=True)


@pytest.mark.slow
def test_the_folder_is_what_hugging_face_loads(recipe: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    theirs, ours = AutoModelForCausalLM.from_pretrained(recipe / "out"), load(recipe / "out")
    ids = torch.tensor([AutoTokenizer.from_pretrained(recipe / "out")("tide [000] crab")["input_ids"]])
    with torch.inference_mode():
        assert torch.allclose(theirs(input_ids=ids).logits, ours(ids), atol=1e-3)
