"""Embed the first image of every episode a model learns from and index it."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from gsa.config import Params
from gsa.cpu import accelerate_for
from gsa.pretrained import load_world_model
from gsa.retrieval import EMBED_BATCH, RetrievalIndex, embed_images
from gsa.storage.episode_store import EpisodeStore


def build_index(store: EpisodeStore, model_folder: Path, params: Params, embodiments: Sequence[str]) -> RetrievalIndex:
    """Index every episode of these embodiments, the held-out ones too (nothing is trained on them here).

    Raises:
        DataError: the store has none of one of them, or an embedding is not finite.
        ArtifactError: the model is missing or another one.
    """
    positions = store.positions_of(embodiments)
    model, sha256 = load_world_model(model_folder, params.world_model)
    accelerate_for(model, params.machine, torch.device("cpu"))
    chunks = np.array_split(positions, int(np.ceil(len(positions) / EMBED_BATCH)))
    embed = embed_images(model, (store.first_images(chunk) for chunk in chunks))
    ids, widths = (store.episodes[name].to_numpy(np.int64)[positions] for name in ("episode_id", "action_dim"))
    return RetrievalIndex.build(embed, positions, ids, widths, sha256, store.sha256)
