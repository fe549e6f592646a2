import numpy as np
import pytest

from gsa.errors import ArtifactError, DataError
from gsa.retrieval import RetrievalIndex

MODEL, STORE = "a" * 64, "c" * 64


def make_index(num=40, seed=0, widths=(2, 3)) -> tuple[RetrievalIndex, np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    embed = rng.normal(size=(num, 8)).astype(np.float32)
    ids = rng.permutation(num * 10)[:num].astype(np.int64)
    width = rng.choice(widths, num).astype(np.int64)
    return RetrievalIndex.build(embed, np.arange(num), ids, width, MODEL, STORE), embed, ids, width


def test_the_nearest_episodes_of_the_right_width_come_first():
    index, embed, ids, width = make_index()
    query = np.full(8, 0.3, np.float32)
    found = index.retrieve(query, 5, action_dim=2)
    distance = np.where(width == 2, np.linalg.norm(embed - query, axis=1), np.inf)
    expected = np.argsort(distance)[:5]
    assert found.position.tolist() == expected.tolist()
    assert found.episode_id.tolist() == ids[expected].tolist()
    np.testing.assert_allclose(found.distance, distance[expected], rtol=1e-4)


def test_asking_for_more_than_there_are_gives_each_eligible_episode_once():
    index, _, _, width = make_index()
    found = index.retrieve(np.zeros(8, np.float32), 500, action_dim=3)
    assert sorted(found.position.tolist()) == np.flatnonzero(width == 3).tolist()


def test_an_index_of_some_episodes_tells_their_place_in_the_store(tmp_path):
    embed, place = np.eye(4, 8, dtype=np.float32), np.array([3, 5, 6, 11])
    RetrievalIndex.build(embed, place, place * 10, np.array([2, 1, 2, 2]), MODEL, STORE).save(tmp_path)
    found = RetrievalIndex.load(tmp_path, MODEL, STORE).retrieve(embed[2], 2, action_dim=2)
    assert found.position.tolist() == [6, 3] and found.episode_id.tolist() == [60, 30]


def test_ties_are_ordered_by_episode_id():
    embed = np.ones((6, 8), np.float32)
    ids = np.array([50, 10, 40, 20, 60, 30])
    index = RetrievalIndex.build(embed, np.arange(6), ids, np.full(6, 2), MODEL, STORE)
    assert index.retrieve(np.zeros(8, np.float32), 6, 2).episode_id.tolist() == sorted(ids.tolist())


def test_an_index_survives_the_disk_and_knows_its_model(tmp_path):
    index, *_ = make_index()
    index.save(tmp_path)
    query = np.linspace(-1, 1, 8).astype(np.float32)
    loaded = RetrievalIndex.load(tmp_path, MODEL, STORE)
    assert loaded.retrieve(query, 7, 2).episode_id.tolist() == index.retrieve(query, 7, 2).episode_id.tolist()
    with pytest.raises(ArtifactError, match=r"another model .* run `gsa build-index` again"):
        RetrievalIndex.load(tmp_path, "b" * 64, STORE)
    with pytest.raises(ArtifactError, match=r"another store .* run `gsa build-index` again"):
        RetrievalIndex.load(tmp_path, MODEL, "b" * 64)


def test_damage_is_named(tmp_path):
    with pytest.raises(ArtifactError, match="run `gsa build-index` first"):
        RetrievalIndex.load(tmp_path, MODEL, STORE)
    index, *_ = make_index()
    index.save(tmp_path)
    file = tmp_path / "keys.faiss"
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(ArtifactError, match=r"keys\.faiss is missing or damaged"):
        RetrievalIndex.load(tmp_path, MODEL, STORE)


def test_what_faiss_would_swallow_is_refused():
    _, embed, ids, width = make_index()
    for bad in (np.nan, np.inf):
        broken = embed.copy()
        broken[3, 2] = bad
        with pytest.raises(DataError, match=f"1 episodes .* {ids[3]}"):
            RetrievalIndex.build(broken, np.arange(len(ids)), ids, width, MODEL, STORE)
    index, *_ = make_index()
    with pytest.raises(DataError, match="not finite"):
        index.retrieve(np.full(8, np.nan, np.float32), 3, 2)
    with pytest.raises(ArtifactError, match=r"query has width \(5,\), the index 8"):
        index.retrieve(np.zeros(5, np.float32), 3, 2)
    with pytest.raises(DataError, match=r"no offline episode has 12 actions \(the index has widths \[2, 3\]\)"):
        index.retrieve(np.zeros(8, np.float32), 3, 12)
