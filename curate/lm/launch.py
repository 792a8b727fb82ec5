"""Training by several processes of one machine, one per GPU, or on CPUs. The job lies in a folder.

`train_together` runs

    torchrun --standalone --nproc-per-node 8 -m curate.lm.launch FOLDER
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from curate.errors import RunError
from curate.lm.checkpoint import Base
from curate.lm.distributed import ProcessGroup
from curate.lm.model import Shape
from curate.lm.token_stream import Tokens
from curate.lm.train import LOG, Trained, Training, TrainSegment, train

_JOB, _STREAM, _SAID = "job.json", "stream.npy", "processes.log"
_POLL_SECONDS = 0.5


def train_together(
    processes: int, begins: Shape | Base, training: Training, stream: Tokens, folder: Path, *, segment: TrainSegment,
    listener: Callable[[int], None] | None = None, device: str = "cpu", threads: int | None = None,
) -> Trained[Any]:  # fmt: skip
    """`train` by several processes, each with a GPU of its own if device is `cuda`.

    The listener is called with the number of steps now and then. Raises RunError with the processes' output when one fails.
    """
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / _STREAM, stream)
    job = {
        "begins": {**asdict(begins), "folder": str(begins.folder.resolve())} if isinstance(begins, Base) else asdict(begins),
        "training": asdict(training),
        "leg": {**asdict(segment), "begin": str(segment.begin.resolve()) if segment.begin else None},
        "device": device,
        "threads": threads or (max(1, (os.cpu_count() or 1) // processes) if device == "cpu" else None),
    }
    (folder / _JOB).write_text(json.dumps(job))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    with open(folder / _SAID, "w") as said:
        running = subprocess.Popen([*command, "-m", __name__, str(folder)], stdout=said, stderr=subprocess.STDOUT)
        try:
            while running.poll() is None:
                time.sleep(_POLL_SECONDS)
                if listener and (folder / LOG).exists():
                    listener((folder / LOG).read_bytes().count(b"\n"))
        finally:
            running.terminate()
            running.wait()
    if running.returncode:
        raise RunError(f"training by {processes} processes failed:\n{(folder / _SAID).read_text()[-4000:]}")
    (folder / _STREAM).unlink()
    return train(begins, training, stream, folder, segment=segment, device=device)


def main(folder: Path) -> None:
    """One of the processes, as torchrun starts it."""
    job = json.loads((folder / _JOB).read_text())
    given = job["begins"]
    begins = Base(Path(given["folder"]), given["context"]) if "folder" in given else Shape(**given)
    training = Training(**{**job["training"], "betas": tuple(job["training"]["betas"])})
    segment = TrainSegment(**{**job["leg"], "begin": Path(job["leg"]["begin"]) if job["leg"]["begin"] else None})
    on_gpu = job["device"].startswith("cuda")
    device = f"cuda:{os.environ['LOCAL_RANK']}" if on_gpu else job["device"]
    if on_gpu:
        torch.cuda.set_device(device)
    torch.distributed.init_process_group("nccl" if on_gpu else "gloo")
    try:
        stream = np.load(folder / _STREAM, mmap_mode="r")  # one copy in memory for all processes
        team = ProcessGroup(torch.distributed.get_rank(), torch.distributed.get_world_size())
        train(begins, training, stream, folder, segment=segment, device=device, threads=job["threads"], team=team)
        torch.distributed.barrier()
    finally:
        torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
