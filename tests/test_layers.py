"""Who may import whom. Rooms are the folders of the package; arrows point down, from the command line to the errors."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "curate"

# From the ground up: a room imports only rooms of lower floors, or itself.
FLOORS = [
    {"errors", "version", "events", "logs"},
    {"schema", "process", "storage", "data"},
    {"config", "text"},
    {"lm", "prox"},
    {"models", "api"},
    {"sources", "stages"},
    {"pipeline"},
    {"execution"},
    {"train", "report"},
    {"mates"},
    {"cli"},
]
KERNELS = {
    f"text/{name}.py"
    for name in (
        "dedup/bloom", "dedup/bloom_filtering", "dedup/clusters", "dedup/minhash", "dedup/ngram_overlap", "dedup/normalize",
        "dedup/shingles", "rules/c4", "rules/c4_edits", "rules/c4_lines", "rules/char_shares", "rules/dclm", "rules/fineweb",
        "rules/gopher",
        "rules/pii_candidates", "rules/refinedweb", "rules/repeated_lines", "rules/repetition_lines",
        "rules/repetition_ngrams", "rules/unigrams",
        "unicode/hashing", "unicode/utf8", "words/align", "words/fasttext", "words/phrase_search", "words/spacy_cut",
        "words/spacy_fill", "words/stream", "words/uax29", "words/whitespace",
    )
} | {"train/softmax.py"}  # fmt: skip
MODELS = {
    f"lm/{name}.py"
    for name in ("checkpoint", "distributed", "encoder", "finetune", "launch", "loss", "model", "pair_scoring", "train")
} | {"mates/influence_probe.py", "train/init_from_base.py", "train/line_classifier.py"}  # fmt: skip
LANGUAGE_MODELS = {"models/lm_types.py", "models/server.py", "models/torch_lm.py", "models/vllm.py"}
# Only here, and only inside functions, so that looking at a file of stages costs nothing.
HEAVY = {
    "datasets": {"sources/hub.py"},
    "duckdb": {"report/diff.py", "report/sql.py"},
    "fasttext": {"models/fasttext.py"},
    "flask": {"report/serve.py"},
    "numba": KERNELS,
    "py3langid": {"stages/extract/language.py"},
    "ray": {"execution/ray_engine.py"},
    "resiliparse": {"text/html/decode.py", "text/html/extract.py"},
    "safetensors": MODELS | LANGUAGE_MODELS,
    "spacy": {"text/words/spacy_rules.py"},
    "tokenizers": {
        "stages/score/tokens.py",
        "lm/encoder.py",
        "lm/token_stream.py",
        "train/causal_lm.py",
        "train/tokenizer.py",
    }
    | LANGUAGE_MODELS,
    "torch": MODELS | LANGUAGE_MODELS | {"train/lm_losses.py", "train/influence_model.py", "stages/score/influence.py"},
    "trafilatura": {"text/html/extract.py"},
    "transformers": {"train/lm_losses.py", "lm/checkpoint.py", "lm/encoder.py"},
    "vllm": {"train/lm_losses.py", "models/vllm.py"},
}
# Kernels are decorated when their module is imported; stages import those modules inside open().
AT_MODULE_LEVEL = KERNELS | MODELS | {"text/html/decode.py", "text/html/extract.py"}


def modules() -> Iterator[tuple[str, ast.Module]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        yield str(path.relative_to(PACKAGE)), ast.parse(path.read_text())


def floor_of(name: str) -> int:
    return next(number for number, names in enumerate(FLOORS) if name in names)


def imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from ([f"curate.{alias.name}" for alias in node.names] if node.module == "curate" else [node.module])


def runtime(tree: ast.Module) -> ast.Module:
    """Without what only a type checker reads."""
    body = [
        n for n in tree.body if not (isinstance(n, ast.If) and isinstance(n.test, ast.Name) and n.test.id == "TYPE_CHECKING")
    ]
    return ast.Module(body, [])


def test_arrows_between_rooms_point_down() -> None:
    wrong = []
    for file, tree in modules():
        own = file.split("/")[0].removesuffix(".py")
        if own == "__init__":
            continue
        for name in imports(runtime(tree)):
            parts = name.split(".")
            foreign = parts[0] == "curate" and len(parts) > 1 and parts[1] != own
            if foreign and floor_of(parts[1]) >= floor_of(own):
                wrong.append(f"{file} imports {name}")
    assert wrong == []


def test_every_room_has_a_floor() -> None:
    assert {file.split("/")[0].removesuffix(".py") for file, _ in modules()} - {"__init__"} == set().union(*FLOORS)


def test_heavy_packages_are_imported_in_one_place() -> None:
    wrong = [
        f"{file} imports {name}"
        for file, tree in modules()
        for name in imports(tree)
        if file not in HEAVY.get(name.split(".")[0], {file})
    ]
    assert wrong == []


def test_heavy_packages_are_imported_inside_functions() -> None:
    wrong = []
    for file, tree in modules():
        for node in tree.body:
            if isinstance(node, ast.Import | ast.ImportFrom) and file not in AT_MODULE_LEVEL:
                wrong += [f"{file}: {name}" for name in imports(ast.Module([node], [])) if name.split(".")[0] in HEAVY]
    assert wrong == []


def test_looking_at_stages_loads_nothing_heavy() -> None:
    code = """
import sys
from click.testing import CliRunner
from curate.cli.main import main
result = CliRunner().invoke(main, ["stages", "gopher_quality"])
assert result.exit_code == 0, result.output
result = CliRunner().invoke(main, ["stages"])
assert result.exit_code == 0, result.output
print(sorted(set(sys.argv[1].split()) & set(sys.modules)))
"""
    result = subprocess.run([sys.executable, "-c", code, " ".join(HEAVY)], capture_output=True, text=True)
    assert (result.stdout, result.stderr) == ("[]\n", "")


def test_every_module_says_what_it_is_for() -> None:
    assert [file for file, tree in modules() if not ast.get_docstring(tree)] == []
