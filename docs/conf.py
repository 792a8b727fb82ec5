"""Sphinx configuration. `sphinx-build -W -b html docs out/docs` writes the site; generated pages are made first."""

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
import generate

from curate.version import VERSION

project = "curate"
author = copyright = "The curate developers"
version = release = VERSION
extensions = ["myst_parser"]
exclude_patterns = [".gitignore"]
myst_heading_anchors = 4
html_theme = "furo"
html_title = f"curate {VERSION}"


def setup(app: Any) -> None:
    """Write the generated pages before Sphinx looks for sources."""
    app.connect("builder-inited", lambda app: generate.write_pages(Path(app.srcdir)))
