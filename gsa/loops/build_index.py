"""Embed the first image of every offline episode and index it."""

from pathlib import Path

import numpy as np
import torch

from gsa.config import Params
from gsa.cpu import accelerate_for
from gsa.errors import DataError
from gsa.pretrained import load_world_model
from gsa.retrieval import EMBED_BATCH, RetrievalIndex, embed_images
from gsa.storage.episode_store import EpisodeStore


def build_index(store: EpisodeStore, model_folder: Path, params: Params) -> RetrievalIndex:
    """Index every episode of the store, the held-out ones too (nothing is trained on them here).

    Raises:
        DataError: the store is empty, or an embedding is not finite.
        ArtifactError: the model is missing or another one.
    """
    if not len(store.lengths):
        raise DataError(f"{store.path} holds no episodes; collect data and run `gsa convert` first")
    model, sha256 = load_world_model(model_folder, params.world_model)
    accelerate_for(model, params.machine, torch.device("cpu"))
    positions = np.arange(len(store.lengths))
    chunks = np.array_split(positions, int(np.ceil(len(positions) / EMBED_BATCH)))
    embed = embed_images(model, (store.first_images(chunk) for chunk in chunks))
    table = store.episodes
    return RetrievalIndex.build(embed, table["episode_id"].to_numpy(), table["action_dim"].to_numpy(np.int64), sha256)
