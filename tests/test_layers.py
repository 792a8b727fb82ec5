"""Who may import whom. Arrows point one way: cli -> runner -> plan -> spec -> stages -> models, text, schema -> errors."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "curate"

# From the bottom up: a module imports only modules of lower layers (or of its own folder, one layer).
LAYERS = [
    {"errors"},
    {"schema", "store", "child"},
    {"options", "text", "probe", "answers"},
    {"stage", "models", "prox"},
    {"rules", "barriers", "cuts", "refining"},
    {"winners", "components", "line_reader"},
    {"sources", "stages"},
    {"spec", "index"},
    {"plan"},
    {"tables", "kernels", "recipe", "lease", "spill"},
    {"layers", "ledger", "layout"},
    {"data_card"},
    {"polls", "shuffles", "folds"},
    {"deciding"},
    {"isolate", "shipping"},
    {"segment"},
    {"worker"},
    {"engine"},
    {"runner"},
    {"indexing", "fit"},
    {"thresholds"},
    {"recount"},
    {"describe", "inspection", "progress"},
    {"report", "push"},
    {"rounds", "watch"},
    {"cli"},
]
KERNELS = {
    f"text/{name}.py"
    for name in (
        "alignment", "bloom", "c4", "clusters", "dclm", "fasttext", "fineweb", "gopher", "hashing", "minhash", "ngrams",
        "normalize", "overlap", "pii_places", "refinedweb", "repeated_lines", "repeats", "seen", "shares", "shingles",
        "spacy_words", "uax29", "unigrams", "utf8", "whitespace", "word_search", "word_stream",
    )
} | {"fit/softmax.py"}  # fmt: skip
MODELS = {
    f"probe/{name}.py"
    for name in ("checkpoint", "decide", "encoder", "influence", "launch", "loss", "model", "supervised", "team", "train")
} | {"fit/begin.py", "fit/line_words.py"}
# Only here, and only inside functions, so that looking at a file of stages costs nothing.
HEAVY = {
    "datasets": {"sources/hub.py"},
    "duckdb": {"report/compare.py", "report/serve.py"},
    "fasttext": {"models/fasttext.py"},
    "flask": {"report/serve.py"},
    "matplotlib": {"report/plots.py"},
    "numba": KERNELS,
    "py3langid": {"stages/language.py"},
    "ray": {"engine.py"},
    "resiliparse": {"text/decode.py", "text/extraction.py"},
    "safetensors": MODELS | {"models/llm.py"},
    "spacy": {"text/spacy_rules.py"},
    "tokenizers": {
        "stages/tokens.py",
        "probe/encoder.py",
        "probe/stream.py",
        "fit/causal_lm.py",
        "fit/tokenizer.py",
        "models/llm.py",
    },
    "torch": MODELS | {"fit/losses.py", "fit/influence.py", "models/llm.py", "stages/influence.py"},
    "trafilatura": {"text/extraction.py"},
    "transformers": {"fit/losses.py", "probe/checkpoint.py", "probe/encoder.py"},
    "vllm": {"fit/losses.py", "models/llm.py"},
}
# Kernels are decorated when their module is imported; stages import those modules inside open().
AT_MODULE_LEVEL = KERNELS | MODELS | {"text/decode.py", "text/extraction.py"}


def modules() -> Iterator[tuple[str, ast.Module]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        yield str(path.relative_to(PACKAGE)), ast.parse(path.read_text())


def layer_of(name: str) -> int:
    return next(number for number, names in enumerate(LAYERS) if name in names)


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


def test_arrows_point_one_way() -> None:
    wrong = []
    for file, tree in modules():
        own = file.split("/")[0].removesuffix(".py")
        if own == "__init__":
            continue
        for name in imports(runtime(tree)):
            parts = name.split(".")
            foreign = parts[0] == "curate" and len(parts) > 1 and parts[1] not in (own, "__version__")
            if foreign and layer_of(parts[1]) >= layer_of(own):
                wrong.append(f"{file} imports {name}")
    assert wrong == []


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
from curate.cli import main
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
