"""A checkpoint of the authors' release (zhaoyi11/ncrl) as a model folder of ours.

Theirs is a pickled dict ``{"wm": {"encoder", "rssm", "decoder"}}`` of state dicts, beside which fine-tuned ones hold
heads that are left alone. The layers are the same as ours under other names, so importing is renaming and checking.
"""

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gsa.config import WorldModelParams
from gsa.errors import ArtifactError, ParamsError
from gsa.runs.checkpoint import save_weights
from gsa.world_model.model import WorldModel

PARTS = ("encoder", "rssm", "decoder")

RELEASE_NAMES = {
    "encoder.conv.": "encoder._conv_model.",
    "decoder.conv.": "decoder._conv_model.",
    "decoder.from_deter.": "decoder._fc_deter.",
    "decoder.from_stoch.": "decoder._fc_stoch.",
    "rssm.gru.in_deter.": "rssm._gru._in_deter.",
    "rssm.gru.in_stoch.": "rssm._gru._in_stoch.",
    "rssm.gru.in_action.": "rssm._gru._in_action.",
    "rssm.gru.mix.": "rssm._gru._dynlayers.0.",
    "rssm.gru.norm.": "rssm._gru._dynlayers.1.",
    "rssm.gru.gates.": "rssm._gru._dyngru.",
    "rssm.prior_head.0.0.": "rssm._prior.0.",
    "rssm.prior_head.0.1.": "rssm._prior.1.",
    "rssm.prior_head.1.0.": "rssm._prior.3.",
    "rssm.prior_head.1.1.": "rssm._prior.4.",
    "rssm.prior_head.2.": "rssm._prior.6.",
    "rssm.post_in.": "rssm._posterior.0.",
    "rssm.post_head.0.": "rssm._posterior.1.",
    "rssm.post_head.2.": "rssm._posterior.3.",
}
"""Our modules and theirs, by the beginning of the weight's name."""


def import_model(checkpoint: Path, params: WorldModelParams, out: Path) -> int:
    """Write the world model of ``checkpoint`` to ``out`` as ``gsa pretrain`` would; returns its number of parameters.

    Raises:
        ArtifactError: no such file, not a checkpoint of the release, or the first weight that does not fit ``params``.
        ParamsError: ``gate_layout`` is not the release's.
    """
    if params.gate_layout != "flat":
        raise ParamsError(
            f"world_model.gate_layout = {params.gate_layout!r}: the release's weights mean something else when gates "
            "are cut inside blocks; set it to flat"
        )
    model = WorldModel(params)
    model.load_state_dict(renamed(read_checkpoint(checkpoint), model.state_dict(), checkpoint))
    save_weights(out, model.state_dict(), {"world_model": params.model_dump()})
    return sum(p.numel() for p in model.parameters())


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """The weights of a release checkpoint, as ``<part>.<their name>``; no code in the file is run.

    Raises:
        ArtifactError: missing, not pickled tensors, or without the three state dicts.
    """
    try:
        tree = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise ArtifactError(f"no checkpoint at {path} ({error.strerror}); check the path") from error
    except (RuntimeError, pickle.UnpicklingError, EOFError, ValueError, KeyError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ArtifactError(f"{path} is not a checkpoint of tensors alone: {reason}; download it again") from error
    model = tree.get("wm") if isinstance(tree, Mapping) else None
    flat: dict[str, Tensor] = {}
    for part in PARTS:
        state = model.get(part) if isinstance(model, Mapping) else None
        if not isinstance(state, Mapping):
            raise ArtifactError(f"{path} has no ['wm'][{part!r}], expected the release's layout; found {_keys(tree)}")
        flat |= {f"{part}.{name}": value for name, value in state.items()}
    return flat


def release_name(ours: str) -> str:
    """The name of one of our weights in the release, ``<part>.<name>``."""
    for prefix, theirs in RELEASE_NAMES.items():
        if ours.startswith(prefix):
            return theirs + ours.removeprefix(prefix).replace("norm.", "_norm.")
    raise AssertionError(f"no name of the release for {ours}")


def renamed(found: Mapping[str, Tensor], ours: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    """Their weights under our names as float32, checked one by one in our order.

    Raises:
        ArtifactError: the first weight that is missing, of another shape, not finite, or left over.
    """
    state = {}
    theirs = {name: release_name(name) for name in ours}
    for name, expected in ours.items():
        value = found.get(theirs[name])
        if not isinstance(value, Tensor) or value.shape != expected.shape:
            what = tuple(value.shape) if isinstance(value, Tensor) else "nothing"
            raise ArtifactError(
                f"{path}: {theirs[name]} expected {tuple(expected.shape)}, found {what}; give world_model in the "
                "parameters the checkpoint's sizes (profiles/paper.yaml has those of the released ones)"
            )
        if not torch.isfinite(value).all():
            raise ArtifactError(f"{path}: {theirs[name]} holds NaN or Inf; take another checkpoint")
        state[name] = value.float()
    left = [name for name in found if name not in set(theirs.values())]
    if left:
        raise ArtifactError(
            f"{path}: {left[0]} expected nothing, found {tuple(found[left[0]].shape)}; it is not a "
            "checkpoint of this world model"
        )
    return state


def _keys(tree: Any) -> str:
    return ", ".join(map(str, list(tree)[:5])) if isinstance(tree, Mapping) else type(tree).__name__
