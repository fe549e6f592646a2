"""Contents that somebody wrote wrong, under checksums that agree: the message names file, row and column."""

import io
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image
from safetensors.torch import save

from gsa.errors import GSAError
from tests.damage.faults import (
    PICKLE,
    Fault,
    Payload,
    arrays,
    claiming,
    column,
    content,
    put,
    record,
    store,
    table,
    vouched,
)
from tests.damage.folders import EPISODES, FOLDERS, HDF5, MINARI_META, NPZ, SHARD, STATES, STEPS, VIDEO, WEIGHTS

Cases = dict[str, tuple[Fault, tuple[str, ...]]]
"""What is wrong: how it came to be, and what the message must say."""


def npz(**changes: Any) -> Fault:
    return arrays(NPZ[0], **changes)


def zip_of(**members: bytes) -> Fault:
    """An npz of these bytes, whatever they are."""

    def fault(folder: Path) -> None:
        with zipfile.ZipFile(folder / NPZ[0], "w") as archive:
            for name, data in members.items():
                archive.writestr(name.replace("__", "../") + ".npy", data)

    return fault


PIXELS = np.zeros((3, 3, 64, 64), np.uint8)

EPISODE_FILE: Cases = {
    "no images": (npz(observation=None), ("observation",)),
    "images as floats": (npz(observation=PIXELS / 255.0), ("observation", "float64")),
    "channels in the middle": (npz(observation=PIXELS.transpose(0, 2, 1, 3)), ("observation", "transpose")),
    "pictures of 16 bits": (npz(observation=PIXELS.astype(np.uint16)), ("uint16", "16 bits or a depth map")),
    "fewer images": (npz(observation=PIXELS[:2]), ("discount", "(2, 1)")),
    "integer actions": (npz(action=np.zeros((3, 2), np.int32)), ("action", "int32")),
    "actions of no width": (npz(action=np.zeros((3, 0), np.float32)), ("action", "(3, 0)")),
    "a NaN action": (npz(action=put((2, 1), np.nan)), ("action at row 1", "entry 1", "nan")),
    "an action of 3": (npz(action=put((2, 0), 3.0)), ("action at row 1", "entry 0 is 3", "--action-range")),
    "an action before the first": (npz(action=put(0, 0.5)), ("action at row 0", "shift")),
    "an end in the middle": (npz(discount=put(1, 0.0)), ("discount 0", "row 1")),
    "a NaN discount": (npz(discount=put(1, np.nan)), ("discount at row 1",)),
    "pickled images": (npz(observation=np.array([Payload(), 1], dtype=object)), ("observation", "pickled")),
    "a pickle for an array": (zip_of(observation=PICKLE), ("observation", "not readable")),
    "an array of petabytes": (zip_of(observation=claiming((2**40, 3, 64, 64))), ("claims",)),
    "fewer bytes than claimed": (zip_of(observation=claiming((3, 3, 64, 64))), ("claims",)),
    "a path for a name": (zip_of(__observation=claiming((3,))), ("no array 'observation'",)),
    "two hundred arrays": (zip_of(**{f"x{n}": b"" for n in range(200)}), ("lists",)),
    "no zip": (content(NPZ[0], b"not a zip"), ("not an npz",)),
}

STATE_FILE: Cases = {
    "no states": (arrays(STATES, physics=None), ("no array 'physics'",)),
    "a NaN state": (arrays(STATES, physics=put((1, 2), np.nan)), ("physics at row 1",)),
    "fewer states": (arrays(STATES, physics=np.zeros((2, 4))), ("2 rows", "3")),
    "another body's actions": (
        arrays(STATES, action=np.zeros((3, 6), np.float32)),
        ("action has width 6", "expected 1 for cartpole"),
    ),
}


def first(**values: Any) -> Fault:
    """The manifest's first episode changed."""
    return record("manifest.json", lambda body: body["episodes"][0].update(values))


RAW_MANIFEST: Cases = {
    "a file outside": (first(file=f"../{NPZ[0]}"), ("episode 0", "not a path")),
    "a file at the root": (first(file="/t-x-0-2.npz"), ("episode 0", "not a path")),
    "a file that is not there": (first(file="t-x-9-2.npz"), ("is not in manifest.json",)),
    "an episode twice": (
        record("manifest.json", lambda body: body["episodes"].append(body["episodes"][0])),
        ("episode 2", "listed before"),
    ),
    "an episode forgotten": (
        record("manifest.json", lambda body: body["episodes"].pop()),
        (NPZ[1], "is not in manifest.json"),
    ),
    "other rows": (first(rows=9), (NPZ[0], "3 rows", "9")),
    "another digest": (first(sha256="0" * 64), (NPZ[0], "sha256")),
    "no episodes": (record("manifest.json", lambda body: body.update(episodes=[])), ("no episodes",)),
    "an episode that is text": (record("manifest.json", lambda body: body.update(episodes=["a"])), ("episode 0",)),
    "a body that is a path": (
        record("manifest.json", lambda body: body["source"].update(embodiment="../x")),
        ("embodiment '../x'",),
    ),
    "another format": (record("manifest.json", lambda body: body.update(format="zarr")), ("format 'gsa-raw'",)),
    "no seal": (record("manifest.json", lambda body: None, sealed=False), ("seal",)),
    "a list": (content("manifest.json", b"[1]"), ("holds list",)),
    "a thousand brackets": (content("manifest.json", b"[" * 100_000), ("damaged",)),
    "not UTF-8": (content("manifest.json", b"\xff\xfe{}"), ("damaged",)),
}


def shard(change: Any, rows: int = 2) -> Fault:
    return store(table(SHARD, change, rows))


def take(*rows: int) -> Callable[[pa.Table], pa.Table]:
    return lambda found: found.take(list(rows))


DOUBLES = pa.list_(pa.field("element", pa.float64(), nullable=False))

STORE_SHARD: Cases = {
    "actions as doubles": (shard(column("action", kind=DOUBLES)), ("column action", "double")),
    "pictures of any length": (shard(column("image", kind=pa.binary())), ("column image", "binary")),
    "steps as int64": (shard(column("step", kind=pa.int64())), ("column step", "int64")),
    "no flags": (shard(lambda t: t.drop_columns(["is_last"])), ("columns", "is_last")),
    "a reward": (shard(lambda t: t.append_column("reward", pa.array([1.0] * len(t)))), ("columns", "reward")),
    "columns in another order": (shard(lambda t: t.select(t.column_names[::-1])), ("columns",)),
    "a NaN action": (shard(column("action", put(1, [np.nan, 0.0]))), ("row groups 0..", "action at row 1")),
    "an action of 7": (shard(column("action", put(2, [7.0, 0.0]))), ("action at row 2", "[-1, 1]")),
    "a wider action": (shard(column("action", put(1, [0.0, 0.0, 0.0]))), ("row groups", "width")),
    "another action": (shard(column("action", put(1, [0.5, 0.5]))), ("differs",)),
    "another picture": (shard(column("image", put(3, bytes(12288)))), ("differs",)),
    "two rows exchanged": (shard(take(0, 2, 1, 3, 4, 5, 6, 7)), ("differs",)),
    "episodes exchanged": (shard(take(4, 5, 6, 7, 0, 1, 2, 3)), ("differs",)),
    "a row twice": (shard(take(0, 1, 1, 3, 4, 5, 6, 7)), ("differs",)),
    "a row missing": (shard(take(0, 1, 2, 4, 5, 6, 7)), ()),
    "row groups of another size": (shard(lambda t: t, rows=3), ("row groups 0..1", "rows, expected 4")),
    "another's number": (shard(column("episode_id", put(1, 5))), ("differs",)),
    "a second start": (shard(column("is_first", put(1, True))), ("differs",)),
    "an early end": (shard(column("is_last", put(1, True))), ("differs",)),
    "no Parquet": (store(content(SHARD, b"PAR1" + b"x" * 20 + b"PAR1")), ()),
}


def episodes(change: Any) -> Fault:
    return store(table("episodes.parquet", change, 100))


STORE_TABLE: Cases = {
    "an id twice": (episodes(column("episode_id", lambda v: [v[0], v[0], *v[2:]])), ("episode_id of row 1",)),
    "length 1": (episodes(column("length", put(2, 1))), ("length of row 2 is 1",)),
    "length of a billion": (episodes(column("length", put(0, 10**9))), ("one-00000", "row groups")),
    "length one less": (episodes(column("length", put(0, 3))), ("one-00000",)),
    "row groups beyond the end": (episodes(column("row_group_start", put(1, 99))), ("one-00000", "row groups 99")),
    "a negative row group": (episodes(column("row_group_start", put(1, -1))), ("row_group_start of row 1 is -1",)),
    "another's row groups": (episodes(column("row_group_start", put(1, 0))), ("one-00000", "differs")),
    "a shard outside": (episodes(column("shard", put(1, "../x.parquet"))), ("shard of row 1", "../x")),
    "another's shard": (episodes(column("shard", put(0, "shards/two-00000.parquet"))), ("two-0", "differs")),
    "another width": (episodes(column("action_dim", put(0, 3))), ("one-00000", "width")),
    "digests exchanged": (episodes(column("sha256", lambda v: [v[1], v[0], *v[2:]])), ("one-00000", "differs")),
    "ids as text": (episodes(column("episode_id", lambda v: [str(x) for x in v], pa.string())), ("episode_id",)),
    "no split": (episodes(lambda t: t.drop_columns(["split"])), ("columns", "split")),
}


def manifest(change: Callable[[dict[str, Any]], Any]) -> Fault:
    return record("manifest.json", change)


STORE_MANIFEST: Cases = {
    "a file outside": (manifest(lambda b: b["files"].update({"../x.parquet": b["files"][SHARD]})), ("../x.parquet",)),
    "a file that is gone": (manifest(lambda b: b["files"].update({"a.parquet": b["files"][SHARD]})), ("a.parquet",)),
    "a shard not listed": (manifest(lambda b: b["files"].pop(SHARD)), ("shard of row 0", "one-00000")),
    "no digest": (manifest(lambda b: b["files"][SHARD].pop("sha256")), ("sha256",)),
    "other bytes": (manifest(lambda b: b["files"][SHARD].update(bytes=1)), ("one-00000", "expected 1")),
    "files as a list": (manifest(lambda b: b.update(files=[1])), ("damaged",)),
    "version 1": (manifest(lambda b: b.update(version=1)), ("version 1", "expected")),
    "a number changed by hand": (record("manifest.json", lambda b: b.update(rows=5), sealed=False), ("seal",)),
}


def keys(change: Any) -> Fault:
    return vouched("keys.parquet", "index.json", "keys_sha256", table("keys.parquet", change, 100))


INDEX: Cases = {
    "fewer keys": (keys(lambda t: t.slice(0, 3)), ("3 episodes",)),
    "no widths": (keys(lambda t: t.drop_columns(["action_dim"])), ("keys.parquet", "action_dim")),
    "a position twice": (keys(column("position", put(1, 0))), ("position of row 1",)),
    "an id twice": (keys(column("episode_id", put(1, 0))), ("episode_id of row 1",)),
    "another width": (record("index.json", lambda b: b.update(embed_dim=9)), ("9",)),
    "another model": (record("index.json", lambda b: b.update(model_sha256="b" * 64)), ("another model",)),
    "another store": (record("index.json", lambda b: b.update(store_sha256="b" * 64)), ("another store",)),
    "no store": (record("index.json", lambda b: b.pop("store_sha256")), ("index.json", "store_sha256")),
    "no model": (record("index.json", lambda b: b.pop("model_sha256")), ("index.json", "model_sha256")),
    "no vectors": (
        vouched("keys.faiss", "index.json", "index_sha256", content("keys.faiss", b"IxFI" + b"\xff" * 60)),
        ("keys.faiss",),
    ),
}


def tensors(**changes: torch.Tensor | None) -> Fault:
    kept = {name: tensor for name, tensor in {**WEIGHTS, **changes}.items() if tensor is not None}
    return weights(save(kept))


def weights(data: bytes) -> Fault:
    return vouched("weights.safetensors", "meta.json", "sha256", content("weights.safetensors", data))


MODEL: Cases = {
    "NaN": (tensors(b=torch.tensor([1.0, torch.nan])), ("weight b", "NaN")),
    "another shape": (tensors(a=torch.zeros(3, 2)), ("weight a expected (2, 3)", "(3, 2)")),
    "doubles": (tensors(a=torch.zeros(2, 3).double()), ("weight a", "float64")),
    "a tensor missing": (tensors(b=None), ("weight b", "found nothing")),
    "a tensor more": (tensors(c=torch.zeros(1)), ("weight c expected nothing",)),
    "a pickle": (weights(PICKLE), ("weights.safetensors",)),
    "a header of an exabyte": (weights(b"\xff" * 7 + b"\x0f{}"), ("weights.safetensors",)),
    "another width": (record("meta.json", lambda b: b.update(action_dim=9)), ("action_dim = 9, expected 2",)),
}


def checkpoint(state: Any) -> Fault:
    buffer = io.BytesIO()
    torch.save(state, buffer)
    data = buffer.getvalue() if not isinstance(state, bytes) else state
    return vouched("step-0000000007.pt", "step-0000000007.json", "sha256", content("step-0000000007.pt", data))


CHECKPOINT: Cases = {
    "a pickle that runs code": (checkpoint({"x": Payload()}), ("step-0000000007.pt",)),
    "a bare pickle": (checkpoint(PICKLE), ("step-0000000007.pt",)),
    "a list": (checkpoint([1, 2]), ("step-0000000007.pt", "list")),
    "no step": (record("step-0000000007.json", lambda b: b.pop("step")), ("step-0000000007",)),
    "a step changed by hand": (record("step-0000000007.json", lambda b: b.update(step=9), sealed=False), ("seal",)),
}


def hdf5(name: str, value: Any) -> Fault:
    """A data set replaced, or taken away by None; a function is applied to what is there."""

    def fault(folder: Path) -> None:
        with h5py.File(folder / HDF5, "a") as file:
            found = file[name][()]
            del file[name]
            new = value(found) if callable(value) else value
            if new is not None:
                file[name] = new

    return fault


def eight_tebibytes(folder: Path) -> None:
    with h5py.File(folder / HDF5, "a") as file:
        del file["episode_0/actions"]
        file["episode_0"].create_dataset("actions", (2**40, 2), np.float32, chunks=(1024, 2))


def minari_meta(**values: Any) -> Fault:
    return record(MINARI_META, lambda b: b.update(values), sealed=False)


MINARI: Cases = {
    "no actions": (hdf5("episode_0/actions", None), ("episode_0", "no 'actions'")),
    "a NaN action": (hdf5("episode_0/actions", put((1, 1), np.nan)), ("action at row 1, entry 1 is nan",)),
    "wider actions": (hdf5("episode_0/actions", np.zeros((2, 3), np.float32)), ("(2, 3)", "2 entries")),
    "fewer actions": (hdf5("episode_0/actions", lambda v: v[:1]), ("rows for 1 actions",)),
    "an early end": (hdf5("episode_1/terminations", np.ones(2, bool)), ("terminations", "row 0")),
    "pictures of another size": (
        hdf5("episode_0/observations/pixels", np.zeros((3, 9, 9, 3), np.uint8)),
        ("(3, 9, 9, 3)",),
    ),
    "a link outside": (
        hdf5("episode_0/actions", h5py.ExternalLink("elsewhere.hdf5", "/actions")),
        ("'actions' is a link elsewhere",),
    ),
    "8 TiB of actions": (eight_tebibytes, ("claims 8796093022208 bytes",)),
    "an episode missing": (hdf5("episode_1/actions", None), ("episode_1", "no 'actions'")),
    "a quadrillion episodes": (minari_meta(total_episodes=10**15), ("says 10000000",)),
    "a format in a list": (minari_meta(data_format=["hdf5"]), ("data_format is ['hdf5']",)),
    "broken spaces": (minari_meta(observation_space="{"), ("observation_space",)),
    "deep spaces": (minari_meta(observation_space="[" * 10**5), ("observation_space",)),
}


def steps(change: Any) -> Fault:
    return table(STEPS, change, 1000)


def listed(change: Any) -> Fault:
    return table(EPISODES, change, 1000)


def info(**values: Any) -> Fault:
    return record("meta/info.json", lambda b: b.update(values), sealed=False)


def png(side: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (side, side)).save(buffer, format="PNG")
    return buffer.getvalue()


PICTURE = "observation.images.top"

LEROBOT: Cases = {
    "a NaN action": (steps(column("action", put(1, [np.nan, 0.0]))), ("action at row 1, entry 0",)),
    "frames out of order": (steps(column("frame_index", put(1, 2))), ("frame_index at row 1 is 2",)),
    "a row missing": (steps(take(0, *range(2, 16))), ("3 rows", "meta/episodes says 4")),
    "time that jumps": (steps(column("timestamp", put(2, 0.9))), ("timestamp at row 2",)),
    "a picture of another size": (steps(column(PICTURE, put(1, {"bytes": png(7), "path": "x"}))), ("row 1", "7x7")),
    "a path for a picture": (
        steps(column(PICTURE, put(1, {"bytes": None, "path": "../x"}))),
        ("bytes is null at row 1",),
    ),
    "an episode twice": (listed(column("episode_index", put(1, 0))), ("episode_index 0 in place of 1",)),
    "another length": (listed(column("length", put(0, 9))), ("total_frames is 16", "holds 21")),
    "a file that is not there": (listed(column("data/file_index", put(0, 7))), ("file-007.parquet",)),
    "no frame rate": (info(fps=float("nan")), ("fps",)),
    "another frame rate": (info(fps=25), ("timestamp at row",)),
    "files outside": (info(data_path="../{chunk_index}{file_index}"), ("leaves its folder",)),
    "a template that looks inside": (info(data_path="{chunk_index.__class__.x}"), ("data_path",)),
    "features as a list": (info(features=[1]), ("features is list",)),
    "a robot that is a path": (info(robot_type="../../x"), ("embodiment '../../x'",)),
}

VIDEOS: Cases = {
    "a playlist": (content(VIDEO, b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n"), ("not a readable MP4",)),
    "a start beyond the end": (listed(column(f"videos/{PICTURE}/from_timestamp", put(1, 99.0))), ("99 to 1.1 s",)),
    "cameras outside": (info(video_path="../{video_key}.mp4"), ("leaves its folder",)),
}

SUITES: dict[str, tuple[str, str, Cases]] = {
    "episode file": ("ncrl, no sums", NPZ[0], EPISODE_FILE),
    "state file": ("exorl, no sums", STATES, STATE_FILE),
    "raw manifest": ("raw", "", RAW_MANIFEST),
    "shard": ("store", "one-00000.parquet", STORE_SHARD),
    "episodes table": ("store", "", STORE_TABLE),
    "store manifest": ("store", "", STORE_MANIFEST),
    "index": ("index", "", INDEX),
    "model": ("weights", "", MODEL),
    "checkpoint": ("checkpoint", "step-0000000007", CHECKPOINT),
    "minari": ("minari, no sums", "", MINARI),
    "lerobot": ("lerobot, no sums", "", LEROBOT),
    "lerobot video": ("lerobot video, no sums", "", VIDEOS),
}
"""By what is wrong: the kind of folder, what every message says, the cases."""


@pytest.mark.parametrize(("suite", "what"), [(suite, what) for suite, (*_, cases) in SUITES.items() for what in cases])
def test_what_is_wrong_is_named(sound_folder: Callable, tmp_path: Path, suite: str, what: str) -> None:
    kind, file, cases = SUITES[suite]
    fault, names = cases[what]
    folder = Path(shutil.copytree(sound_folder(kind)[0], tmp_path / "copy"))
    fault(folder)
    with pytest.raises(GSAError) as caught:
        FOLDERS[kind].read(folder)
    message = str(caught.value)
    assert str(folder) in message and "\n" not in message
    assert [name for name in (file, *names) if name not in message] == []
