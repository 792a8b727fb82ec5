"""Pages made from the code: stages.md, cli.md, python-api.md. Run by `conf.py`; not committed.

python docs/generate.py     # to read them without Sphinx
"""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from curate.cli.main import SECTIONS, main
from curate.pipeline.explain import StageNotes, rule_cells, stage_notes
from curate.stages import STAGES

MODULES = ("curate", "curate.api", "curate.errors")


def write_pages(folder: Path) -> None:
    """Write the generated pages into a folder."""
    for name, text in (("stages.md", stages_page()), ("cli.md", cli_page()), ("python-api.md", api_page())):
        (folder / name).write_text(text, encoding="utf-8")


def stages_page() -> str:
    """Every stage with its options, drop reasons, columns and rules, by folder of `curate/stages`."""
    groups: dict[str, list[str]] = {group: [] for group in TITLES}
    for name in sorted(STAGES):
        groups[STAGES[name].split(".")[2]].append(name)
    lines = ["# Stages", "", "`curate stages` lists them, `curate stages NAME` prints what stands here for one.", ""]
    for names in groups.values():
        lines += ["| stage | what it does |", "|---|---|"]
        lines += [
            f"| [`{name}`](#{name.replace('_', '-')}) | {markdown(_first_sentence(stage_notes(name)))} |" for name in names
        ]
        lines.append("")
    for group, names in groups.items():
        lines += [f"## {TITLES[group]}", ""]
        for name in names:
            lines += _stage_section(stage_notes(name))
    return "\n".join(lines)


TITLES = {
    "extract": "Extraction and language",
    "filters": "Filters and clean-up",
    "dedup": "Deduplication",
    "score": "Scores and choice",
    "refine": "Refiners",
}


def _first_sentence(notes: StageNotes) -> str:
    return notes.essay.split("\n\n")[0].replace("\n", " ")


def _stage_section(notes: StageNotes) -> Iterator[str]:
    yield from (f"({notes.name.replace('_', '-')})=", f"### {notes.name}", "")
    yield from (markdown(_first_sentence(notes)), "", "```yaml", notes.example, "```", "")
    if notes.is_global:
        yield from ("A [global stage](concepts.md#global-stages): it decides from all documents.", "")
    if notes.options:
        yield from ("| option | type | default | |", "|---|---|---|---|")
        for option in notes.options:
            default = "required" if option.default is None else f"`{option.default}`"
            yield f"| `{option.name}` | {_cell(option.type)} | {_cell(default)} | {_cell(markdown(option.note))} |"
        yield ""
    unknown = "depends on the model and the options"
    reasons = unknown if notes.reasons is None else ", ".join(f"`{reason}`" for reason in notes.reasons) or "none"
    yield f"- Drop reasons: {reasons}"
    for label, columns in (("Reads", notes.reads), ("Writes", notes.writes)):
        names = None if columns is None else ", ".join(f"`{column}` ({kind})" for column, kind in columns.items())
        yield f"- {label}: {unknown if names is None else names or 'nothing'}"
    yield ""
    for profile, rules in notes.profiles.items():
        default = ", the default" if profile == notes.default_profile else ""
        yield from (f"Profile `{profile}`{default}. {markdown(rules.about)}", "")
        yield from ("| drop reason | a document is dropped when | limit |", "|---|---|---:|")
        yield from ("| " + " | ".join(_cell(f"`{cell}`") for cell in rule_cells(rule)) + " |" for rule in rules.rules)
        yield ""
    rest = notes.essay.split("\n\n", 1)[1:]
    yield from (markdown(*rest), "") if rest else ()


def cli_page() -> str:
    """Every command with its help, as the terminal shows it."""
    context = click.Context(main, info_name="curate", **main.context_settings)
    lines = ["# Command line", "", "```text", main.get_help(context), "```", ""]
    lines += ["Exit codes: 0 done, 1 the input is wrong, 2 the run failed, 130 interrupted.", ""]
    for section, names in SECTIONS.items():
        lines += [f"## {section}", ""]
        for name in names:
            command = main.commands[name]
            own = click.Context(command, parent=context, info_name=name)
            lines += [f"### curate {name}", "", "```text", command.get_help(own), "```", ""]
    return "\n".join(lines)


def api_page() -> str:
    """The public names of `MODULES`, with their signatures and docstrings."""
    lines = [
        "# Python API", "",
        "`curate`, `curate.api` and the exceptions of `curate.errors` are the public API: stable within a major version, and "
        "before 1.0 within a minor one. Every other module may change in any release. A plug-in imports nothing else.", "",
    ]  # fmt: skip
    for name in MODULES:
        module = importlib.import_module(name)
        public = getattr(module, "__all__", None) or sorted(n for n, v in vars(module).items() if _is_error(v))
        lines += [f"## {name}", "", *([] if name == "curate" else [markdown(inspect.getdoc(module) or ""), ""])]
        constants = [n for n in public if not (inspect.isclass(getattr(module, n)) or inspect.isfunction(getattr(module, n)))]
        for item in public:
            if item not in constants:
                lines += _api_section(f"{name}.{item}", getattr(module, item))
        if constants:
            lines += [f"### Constants and types of {name}", ""]
            lines += [f"- `{n}`: `{_plain(getattr(module, n))}`" for n in constants] + [""]
    return "\n".join(lines)


def _is_error(value: Any) -> bool:
    return inspect.isclass(value) and issubclass(value, Exception) and value.__module__ == "curate.errors"


def _plain(value: Any) -> str:
    text = re.sub(r"<([\w.]+)[^<>]*>", r"\1", str(value)).replace("curate.api.", "").replace("typing.", "")
    return " ".join(text.split()).replace("`", "'")[:200]


def _api_section(path: str, value: Any) -> Iterator[str]:
    """A class with its public methods and properties, or a function."""
    keyword = "class " if inspect.isclass(value) else ""
    yield from (f"### {path}", "", "```python", f"{keyword}{_signature(path, value)}", "```", "")
    doc = inspect.getdoc(value) or ""
    if not doc.startswith(f"{path.split('.')[-1]}("):  # what dataclasses write of their own
        yield from (markdown(doc), "")
    if not inspect.isclass(value) or issubclass(value, Exception):
        return
    for name, member in vars(value).items():
        function = member.fget if isinstance(member, property) else getattr(member, "__func__", member)
        if name.startswith("_") or not inspect.isfunction(function) or not function.__doc__:
            continue
        shown = name if isinstance(member, property) else _signature(name, function)
        yield from (f"- `{shown}`: {_indented(markdown(inspect.getdoc(function) or ''))}", "")


def _indented(text: str) -> str:
    return text.replace("\n", "\n  ")


def _signature(path: str, value: Any) -> str:
    try:
        signature = str(inspect.signature(value))
    except ValueError:
        return path
    signature = re.sub(r"(: |-> )['\"]([^'\"]*)['\"]", r"\1\2", signature)
    return path + signature.replace("self, ", "").replace("(self)", "()").replace("<factory>", "...")


def markdown(text: str) -> str:
    """A docstring as Markdown: signs that Markdown would read are escaped outside code, `>>>` and indented lines are code."""
    blocks = []
    for block in text.split("\n\n"):
        if block.startswith((">>>", "    ")):
            language = "pycon" if block.startswith(">>>") else "text"
            blocks.append(f"```{language}\n{inspect.cleandoc(block)}\n```")
        else:
            blocks.append(_escaped(block))
    return "\n\n".join(blocks)


def _escaped(block: str) -> str:
    parts = re.split(r"(`[^`]*`)", block)
    parts[::2] = [re.sub(r"([*_<>\[\]#|$~\\])", r"\\\1", part) for part in parts[::2]]
    return "".join(parts)


def _cell(text: str) -> str:
    return text.replace("\\|", "|").replace("|", "\\|")


if __name__ == "__main__":
    write_pages(Path(__file__).parent)
