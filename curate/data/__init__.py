"""What the package ships, and the names that resolve to it: pipelines, a sample crawl, a tokenizer, small scorers.

A bare name, such as `quickstart` or `preselect-mini-v1`, is looked for

1. among what the package ships,
2. in the cache: `$CURATE_CACHE`, else `$XDG_CACHE_HOME/curate`, else `~/.cache/curate`, in `pipelines/` and `scorers/`,
3. as a path, like anything else that is named.

An installed package has both folders inside it; in a checkout they lie beside it.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from curate.errors import SpecError

_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,99}")
_HERE = Path(__file__).parent
_SHIPPED = _HERE if (_HERE / "pipelines").is_dir() else _HERE.parents[1]

_README = """# A first corpus

`pipeline.yaml` turns the pages in `sample/` (WARC files, as crawlers write them) into a corpus:

    curate run pipeline.yaml --out out     # run it; the same command again continues
    curate report out                      # a page that shows what was kept, lost and edited, and why
    curate sample out --dropped -n 3       # read dropped documents
    curate whatif out gopher_quality.min_words=100

Then change `pipeline.yaml`: put your own files under `source`, and other stages in the list. `curate stages` lists them,
`curate stages gopher_quality` shows the options of one, and `curate check pipeline.yaml` finds mistakes before a run does.
"""


def cache_folder() -> Path | None:
    """Where pipelines and scorers may be put to be found by name; None where nobody has a home."""
    if own := os.environ.get("CURATE_CACHE"):
        return Path(own)
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "curate"
    except RuntimeError:  # a user without a home, in a container
        return None


def pipeline_path(name: str) -> str:
    """The file of a pipeline: a bare name that is known, such as `quickstart`, or the path as it is.

    Raises SpecError for a name that is known and also a file here.
    """
    known = _resolved(name, Path("pipelines"), f"{name}.yaml")
    if known and os.path.isfile(name):
        raise SpecError(f"{name!r} is the name of a pipeline ({known}), and a file here. For the file, write './{name}'.")
    return known or name


def pipeline_names() -> list[str]:
    """Every pipeline that has a name."""
    return sorted({path.stem for folder in _folders(Path("pipelines")) for path in folder.glob("*.yaml")})


def scorer_path(name: str) -> str | None:
    """The folder of a scorer with a bare name that is known; None for anything else."""
    return _resolved(name, Path("scorers"), os.path.join(name, "card.md"), name)


def tokenizer_path(name: str) -> str | None:
    """The `tokenizer.json` of a folder of scorers with a bare name that is known; None for anything else."""
    return _resolved(name, Path("scorers"), os.path.join(name, "tokenizer.json"))


def known_names(what: Literal["scorer", "tokenizer"] | None) -> list[str]:
    """Every scorer, or every tokenizer, that has a name; none for None."""
    if what is None:
        return []
    wanted = "*/tokenizer.json" if what == "tokenizer" else "*/model.*"
    return sorted({path.parent.name for folder in _folders(Path("scorers")) for path in folder.glob(wanted)})


def init_project(directory: str) -> list[str]:
    """Write a pipeline file, the sample crawl and a README into a folder that is new or empty. Returns what was written.

    Raises SpecError when there is something in the folder.
    """
    if not directory or "://" in directory:
        raise SpecError(f"{directory!r} is no folder of this machine. Give the path of a new folder.")
    target = Path(directory).expanduser()
    if os.path.lexists(target) and not target.is_dir():
        raise SpecError(f"{directory!r} is a file. Give a new folder: nothing is overwritten.")
    if target.is_dir() and any(target.iterdir()):
        raise SpecError(f"{directory!r} is not empty. Give a new folder: nothing is overwritten.")
    (target / "sample").mkdir(parents=True)
    pipelines = _SHIPPED / "pipelines"
    own = target.resolve().name
    name = own if _NAME.fullmatch(own) else "corpus"
    head = f"# A first corpus, from the pages in sample/. README.md says how to go on.\nname: {name}\n"
    rest = (pipelines / "quickstart.yaml").read_text("utf-8").partition("\nsource:")[2]
    (target / "pipeline.yaml").write_text(f"{head}source:{rest}", encoding="utf-8")
    for crawl in sorted((pipelines / "sample").glob("*.warc.gz")):
        shutil.copyfile(crawl, target / "sample" / crawl.name)
    (target / "README.md").write_text(_README, encoding="utf-8")
    return sorted(str(path.relative_to(target)) for path in target.rglob("*") if path.is_file())


def _folders(section: Path) -> Iterator[Path]:
    """What is shipped, then the cache, if it can be read."""
    yield _SHIPPED / section
    cache = cache_folder()
    if cache is not None and os.access(cache / section, os.R_OK | os.X_OK):
        yield cache / section


def _resolved(name: str, section: Path, wanted: str, result: str | None = None) -> str | None:
    """The path of `result` where `wanted` exists, for a bare name; both are below a section's folder."""
    if not _NAME.fullmatch(name):
        return None
    for folder in _folders(section):
        if (folder / wanted).is_file():
            return str(folder / (result or wanted))
    return None
