"""Seconds per update beside the authors' release, in one run: ``python -m benchmarks.release CHECKOUT``.

CHECKOUT is a clone of github.com/zhaoyi11/ncrl, run as it is. Its code needs packages that GSA does not:
``pip install einops tensordict opencv-python-headless``, best in an environment of its own. Both get the 2.3 million
parameters of ``benchmarks/world_model.py`` and the same weights of the world model, which is asserted by the embeddings
of one batch; then the two take turns. Ours runs with all accelerators. An update of theirs computes a little more than
ours: it also draws the prior's latents and checks every distribution's arguments.
"""

import argparse
import sys
import tempfile
from copy import copy
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from benchmarks.world_model import PARAMS, SIZES, Update, make, median_seconds, random_batch, update_agent, update_model
from gsa.config import Params, load_params
from gsa.episode import Batch
from gsa.loops.import_model import read_checkpoint, renamed
from gsa.nets.conv import scale_image


def release_agent(checkout: Path, params: Params, mode: str, device: str = "cpu") -> Any:
    """Their agent at our sizes; ``mode`` is pretrain or finetune."""
    sys.path.append(str(checkout / "src"))
    from omegaconf import OmegaConf

    shipped = OmegaConf.load(checkout / "config" / "finetune.yaml")
    model, agent = params.world_model, params.dreamer
    sizes = {key: getattr(model, key) for key in ("deter", "hidden", "blocks", "stoch", "classes")}
    changes = {
        "mode": mode,
        "device": device,
        "use_action_padding": True,
        "imag_horizon": agent.imag_horizon,
        "rssm": sizes,
        "encoder": {"cnn_depth": model.channels[0]},
        "reward": {"units": agent.units, "layers": agent.reward_layers},
        "actor": {"layers": agent.actor_layers, "use_action_padding": True},
        "critic": {"layers": agent.critic_layers},
    }
    config = OmegaConf.merge(shipped, {"agent": changes}).agent
    width = model.action_dim
    return import_module("dreamer.dreamer").DreamerAgent(config, (3, 64, 64), width, width)


def release_batch(batch: Batch) -> dict[str, torch.Tensor]:
    """Our batch under their names; their action is the one before the image."""
    previous = torch.cat([torch.zeros_like(batch.action[:, :1]), batch.action[:, :-1]], 1)
    return {
        "observation": batch.image.contiguous(),
        "action": previous,
        "reward": batch.reward[..., None],
        "discount": torch.ones(*batch.reward.shape, 1),
        "is_first": batch.is_first,
        "is_terminal": batch.is_terminal[..., None],
    }


def check_same_model(theirs: Any, ours: Any, batch: Batch) -> None:
    """Give ours their weights, and compare the embeddings."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "theirs.pt"
        theirs.save_model(file)
        model = ours.world_model
        model.load_state_dict(renamed(read_checkpoint(file), model.state_dict(), file))
    with torch.no_grad():
        found, expected = model.embed(batch.image), theirs.wm.encoder(scale_image(batch.image))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def update_theirs(agent: Any, takes: tuple[Any, ...]) -> object:
    """One update of theirs, which changes the dicts that it takes."""
    return agent.update(*map(copy, takes))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("checkout", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=10)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    params = load_params(PARAMS, SIZES["release"])
    batch = random_batch(params)
    data = release_batch(batch)
    rows = f"{params.dreamer.batch_size} x {params.dreamer.batch_length} rows, {arguments.threads} threads"
    print(f"{rows}\n{'':20s} {'release s':>10s} {'ours s':>8s} {'ratio':>6s}")
    for what, mode in (("pre-training update", "pretrain"), ("fine-tuning update", "finetune")):
        theirs, ours = release_agent(arguments.checkout, params, mode), make(params)
        check_same_model(theirs, ours, batch)
        update = update_model if mode == "pretrain" else update_agent
        theirs_takes = (None, data, 0) if mode == "pretrain" else (data, None, 0)
        updates: dict[str, Update] = {
            "ours": partial(update, ours, batch),
            "release": partial(update_theirs, theirs, theirs_takes),
        }
        seconds = median_seconds(updates, arguments.repeats)
        ratio = seconds["release"] / seconds["ours"]
        print(f"{what:20s} {seconds['release']:10.3f} {seconds['ours']:8.3f} {ratio:6.2f}", flush=True)


if __name__ == "__main__":
    main()
