"""Run every measurement and print its table, with the machine and the commit."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.bench import driver_memory, engines, filters, passthrough, scaling


def main() -> None:
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    print(f"commit {commit}, Python {platform.python_version()}, {platform.machine()}, {os.cpu_count()} cores\n")
    for module in (filters, scaling, passthrough, driver_memory, engines):
        print(f"{module.measure()}\n", flush=True)


if __name__ == "__main__":
    main()
