"""Embed the first image of every offline episode and index it (SPEC.md section 3)."""

from pathlib import Path

import numpy as np

from gsa.config import WorldModelParams
from gsa.cpu import accelerate
from gsa.errors import DataError
from gsa.retrieval import EMBED_BATCH, RetrievalIndex, embed_images
from gsa.runs.checkpoint import load_weights
from gsa.storage.episode_store import EpisodeStore
from gsa.world_model.model import WorldModel


def load_world_model(folder: Path, params: WorldModelParams) -> tuple[WorldModel, str]:
    """The pre-trained model and the sha256 of its weights.

    Raises:
        ArtifactError: missing, damaged, or made with another ``world_model`` section.
    """
    model = WorldModel(params)
    weights, meta = load_weights(folder, model.state_dict(), {"world_model": params.model_dump()})
    model.load_state_dict(weights)
    accelerate(model)
    return model.eval(), str(meta["sha256"])


def build_index(store: EpisodeStore, model_folder: Path, params: WorldModelParams) -> RetrievalIndex:
    """Index every episode of the store, the held-out ones too (nothing is trained on them here).

    Raises:
        DataError: the store is empty, or an embedding is not finite.
        ArtifactError: the model is missing or another one.
    """
    if not len(store.lengths):
        raise DataError(f"{store.path} holds no episodes; collect data and run `gsa convert` first")
    model, sha256 = load_world_model(model_folder, params)
    positions = np.arange(len(store.lengths))
    chunks = np.array_split(positions, int(np.ceil(len(positions) / EMBED_BATCH)))
    embed = embed_images(model, (store.first_images(chunk) for chunk in chunks))
    table = store.episodes
    return RetrievalIndex.build(embed, table["episode_id"].to_numpy(), table["action_dim"].to_numpy(np.int64), sha256)
