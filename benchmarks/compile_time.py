"""Does compiling take longer for longer windows? ``python -m benchmarks.compile_time [--size xs] [--rows 8 16 32]``.

Seconds until the first pass of the world model's recurrence, forwards and backwards, is done: with torch.compile's own
code generation, of a process of its own with an empty cache. One step is compiled, whatever the window.
"""

import argparse
import multiprocessing
import os
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor

import torch

from gsa.world_model.rssm import RSSM
from stages.profile import load_profile


def seconds(size: str, rows: int, device: str, compiled: bool) -> float:
    """Of the first pass."""
    torch.set_num_threads(1)
    params = load_profile("paper", settings=[f"world_model.size={size}"]).world_model
    rssm = RSSM(params, 4 * params.channels[-1]).to(device)
    embed = torch.randn(4, rows, 4 * params.channels[-1], device=device)
    action = torch.randn(4, rows, params.action_dim, device=device)
    is_first = torch.zeros(4, rows, dtype=torch.bool, device=device)
    started = time.perf_counter()
    if compiled:
        rssm.compile_parts(mode="default", fullgraph=True)
    post, logits = rssm.observe(embed, action, is_first)
    float((post.deter.sum() + logits.square().sum()).backward() or 0.0)
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", default="xs")
    parser.add_argument("--rows", nargs="+", type=int, default=[8, 16, 32])
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    print("| rows | compiled, s | eager, s |\n| --- | --- | --- |")
    for rows in arguments.rows:
        found = []
        for compiled in (True, False):
            with tempfile.TemporaryDirectory() as cache:
                os.environ["TORCHINDUCTOR_CACHE_DIR"] = cache
                with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
                    found.append(pool.submit(seconds, arguments.size, rows, arguments.device, compiled).result())
        print(f"| {rows} | {found[0]:.1f} | {found[1]:.2f} |", flush=True)


if __name__ == "__main__":
    main()
