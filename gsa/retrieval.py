"""Retrieval (Eq. 4): which offline episodes start where the new task starts, by distance of encoder features.

The key of an episode is e(o_0), the pre-trained image encoder's embedding of its first image. Keys lie in an exact
Faiss index beside a table of episode ids and action widths; the index is bound to the weights that made its keys and to
the store whose episodes they stand for.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import faiss
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from jaxtyping import Float32, Int64, UInt8

from gsa.errors import ArtifactError, DataError, one_line
from gsa.files import read_sealed, sealed_json, sha256_file
from gsa.storage.store_files import read_table
from gsa.world_model.model import WorldModel

INDEX_FILE, KEYS_FILE, META_FILE = "keys.faiss", "keys.parquet", "index.json"
EMBED_BATCH = 256

KEYS_SCHEMA = pa.schema([("position", pa.int64()), ("episode_id", pa.int64()), ("action_dim", pa.int64())])

FIX = "run `gsa build-index` again"


@torch.no_grad()
def embed_images(model: WorldModel, images: Iterable[UInt8[np.ndarray, "N C Y X"]]) -> Float32[np.ndarray, "M E"]:
    """Embeddings of chunks of images, in order, computed where the model is."""
    device = next(model.parameters()).device
    embeds = (model.embed(torch.from_numpy(chunk).to(device)) for chunk in images)
    return np.concatenate([embed.float().cpu().numpy() for embed in embeds])


@dataclass(frozen=True)
class Retrieved:
    """The nearest episodes, nearest first: position in the store, id, and ``retrieval_distance`` (L2)."""

    position: Int64[np.ndarray, " R"]
    episode_id: Int64[np.ndarray, " R"]
    distance: Float32[np.ndarray, " R"]


@dataclass(frozen=True)
class RetrievalIndex:
    """Exact L2 index over the first images of a model's episodes; row i of ``keys`` describes vector i.

    ``keys`` has columns position (in the store, ascending), episode_id, action_dim. ``model_sha256`` names the weights
    whose encoder made them, ``store_sha256`` the store (``EpisodeStore.sha256``).
    """

    index: faiss.Index
    keys: pd.DataFrame
    model_sha256: str
    store_sha256: str

    @classmethod
    def build(
        cls,
        embed: Float32[np.ndarray, "N E"],
        position: Int64[np.ndarray, " N"],
        episode_id: Int64[np.ndarray, " N"],
        action_dim: Int64[np.ndarray, " N"],
        model_sha256: str,
        store_sha256: str,
    ) -> "RetrievalIndex":
        """Index one embedding per episode, in the store's order.

        Raises:
            DataError: an embedding is not finite or all zero (Faiss would never return it, in silence).
        """
        bad = ~np.isfinite(embed).all(1) | (np.abs(embed).sum(1) == 0)
        if bad.any():
            names = ", ".join(str(i) for i in episode_id[bad][:5])
            raise DataError(f"{bad.sum()} episodes have NaN, Inf or zero embeddings (ids {names}); check the model")
        index = faiss.IndexFlatL2(embed.shape[1])
        index.add(np.ascontiguousarray(embed, np.float32))
        keys = pd.DataFrame({"position": position, "episode_id": episode_id, "action_dim": action_dim})
        return cls(index, keys, model_sha256, store_sha256)

    def save(self, folder: Path) -> None:
        """Write the index, its table and what it is bound to."""
        faiss.write_index(self.index, str(folder / INDEX_FILE))
        table = pa.Table.from_pandas(self.keys, KEYS_SCHEMA, preserve_index=False)
        pq.write_table(table, folder / KEYS_FILE, write_page_checksum=True)
        meta = {
            "model_sha256": self.model_sha256,
            "store_sha256": self.store_sha256,
            "num_keys": len(self.keys),
            "embed_dim": self.index.d,
            # Faiss reads flipped bits as other vectors, in silence (300 of 300 tries).
            "index_sha256": sha256_file(folder / INDEX_FILE),
            "keys_sha256": sha256_file(folder / KEYS_FILE),
        }
        (folder / META_FILE).write_text(sealed_json(meta), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path, model_sha256: str, store_sha256: str) -> "RetrievalIndex":
        """Read an index made by the model and of the store of these digests.

        Raises:
            ArtifactError: missing, damaged, inconsistent, or built from another model or store; the message names the
                file.
        """
        if not (folder / META_FILE).is_file():
            raise ArtifactError(f"no index at {folder}, {META_FILE} is missing: run `gsa build-index` first")
        meta = read_sealed(folder / META_FILE, ArtifactError, FIX)
        expected = ("model_sha256", "store_sha256", "num_keys", "embed_dim", "index_sha256", "keys_sha256")
        if missing := [name for name in expected if name not in meta]:
            raise ArtifactError(f"{folder / META_FILE} lacks {', '.join(missing)}; {FIX}")
        for what, key, given in (("model", "model_sha256", model_sha256), ("store", "store_sha256", store_sha256)):
            if meta[key] != given:
                raise ArtifactError(
                    f"the index at {folder} was built from another {what} ({META_FILE} says {str(meta[key])[:12]}, "
                    f"this {what} is {given[:12]}); {FIX}"
                )
        for name, digest in ((INDEX_FILE, meta["index_sha256"]), (KEYS_FILE, meta["keys_sha256"])):
            if not (folder / name).is_file() or sha256_file(folder / name) != digest:
                raise ArtifactError(f"{folder / name} is missing or damaged (its sha256 differs); {FIX}")
        keys = _read_keys(folder / KEYS_FILE)
        try:
            index = faiss.read_index(str(folder / INDEX_FILE))
        except (RuntimeError, MemoryError) as error:
            reason = str(error).splitlines()[0]
            raise ArtifactError(f"{folder / INDEX_FILE} cannot be read ({reason}); {FIX}") from error
        found = (len(keys), index.ntotal, index.d)
        if found != (meta["num_keys"], meta["num_keys"], meta["embed_dim"]):
            raise ArtifactError(
                f"the index at {folder} holds {found[1]} vectors of width {found[2]} for {found[0]} episodes, expected "
                f"{meta['num_keys']} of width {meta['embed_dim']}; {FIX}"
            )
        return cls(index, keys, model_sha256, store_sha256)

    def retrieve(self, query: Float32[np.ndarray, " E"], num_episodes: int, action_dim: int) -> Retrieved:
        """The ``num_episodes`` nearest episodes whose action width is ``action_dim``, or all where there are fewer.

        Ties are broken by episode id, so that the order depends on neither threads nor batch size.

        Raises:
            DataError: the query is not finite, or no episode has that action width.
            ArtifactError: the query's width is not the index's.
        """
        if query.shape != (self.index.d,):
            raise ArtifactError(f"query has width {query.shape}, the index {self.index.d}; {FIX}")
        if not np.isfinite(query).all():
            raise DataError("the first image's embedding is not finite; check the model")
        eligible = np.flatnonzero(self.keys["action_dim"] == action_dim)
        if not len(eligible):
            widths = sorted(self.keys["action_dim"].unique().tolist())
            raise DataError(
                f"no offline episode has {action_dim} actions (the index has widths {widths}); collect data of this "
                "body, or use a method that neither rehearses nor clones"
            )
        wanted, search = min(num_episodes, len(eligible)), faiss.SearchParameters()
        search.sel = faiss.IDSelectorBatch(eligible.astype(np.int64))
        square, row = self.index.search(query[None].astype(np.float32), wanted, params=search)
        position, ids = (self.keys[name].to_numpy()[row[0]] for name in ("position", "episode_id"))
        order = np.lexsort((ids, np.round(square[0], 4)))
        distance = np.sqrt(np.maximum(square[0][order], 0.0)).astype(np.float32)
        return Retrieved(position[order], ids[order].astype(np.int64), distance)


def _read_keys(path: Path) -> pd.DataFrame:
    """Every episode must be there once, in the store's order."""
    try:
        table = read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise ArtifactError(f"{path} cannot be read ({one_line(error)}); {FIX}") from error
    if not table.schema.equals(KEYS_SCHEMA):
        found = ", ".join(f"{field.name} {field.type}" for field in table.schema)
        raise ArtifactError(f"{path} has columns {found}, expected {', '.join(KEYS_SCHEMA.names)} as int64; {FIX}")
    keys = table.to_pandas(use_threads=False)
    steps = np.diff(keys["position"], prepend=-1)
    problems = {"position": pd.Series(steps < 1), "episode_id": keys["episode_id"].duplicated()}
    for column, bad in problems.items():
        if bad.any():
            row = int(np.argmax(bad))
            raise ArtifactError(f"{path}: {column} of row {row} is {keys[column].iloc[row]}, twice or misplaced; {FIX}")
    return keys
