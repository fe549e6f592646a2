"""Which OpenGL back-end is taken, and what a user reads when none works. No GL library is touched here."""

import os
import subprocess
import sys
from types import SimpleNamespace

import mujoco
import numpy as np
import pytest

from gsa.envs import rendering
from gsa.envs.rendering import SceneCamera, apply_quality, choose_backend
from gsa.errors import ParamsError, ResourceError

VARIABLES = ("MUJOCO_GL", "PYOPENGL_PLATFORM", "LP_NUM_THREADS", "GSA_GL_PROBED")


@pytest.fixture(autouse=True)
def fresh_process(monkeypatch):
    """As if dm_control had not been imported; choose_backend writes the environment, so everything is put back."""
    monkeypatch.delitem(sys.modules, "dm_control._render", raising=False)
    before = {name: os.environ.pop(name, None) for name in VARIABLES}
    yield
    for name, value in before.items():
        os.environ.pop(name, None)
        if value is not None:
            os.environ[name] = value


def probe_finds(monkeypatch, **failures):
    tried = []
    monkeypatch.setattr(rendering, "_probe", lambda name: tried.append(name) or failures.get(name, ""))
    return tried


@pytest.mark.parametrize(
    "wanted, inherited, failures, expected, tried",
    [
        ("auto", None, {}, "egl", ["egl"]),
        ("auto", None, {"egl": "no"}, "osmesa", ["egl", "osmesa"]),
        ("auto", "osmesa", {}, "osmesa", ["osmesa"]),
        ("osmesa", "egl", {}, "osmesa", ["osmesa"]),
    ],
    ids=["egl first", "then osmesa", "the user's", "the parameter's"],
)
def test_choice_is_made_and_exported(monkeypatch, wanted, inherited, failures, expected, tried):
    if inherited:
        os.environ["MUJOCO_GL"] = inherited
    probed = probe_finds(monkeypatch, **failures)
    assert choose_backend(wanted) == expected
    assert probed == tried
    assert os.environ["MUJOCO_GL"] == os.environ["PYOPENGL_PLATFORM"] == expected
    choose_backend(wanted)
    assert probed == tried, "a back-end that worked is not tried again, in children neither"


def test_when_none_works_each_reason_and_its_packages_are_named(monkeypatch):
    monkeypatch.setattr(rendering, "_loads", lambda library: False)
    with pytest.raises(ResourceError) as caught:
        choose_backend("auto")
    for word in ("libEGL.so.1", "libegl1 libgl1-mesa-dri", "libOSMesa.so.8", "libosmesa6"):
        assert word in str(caught.value)
    assert "MUJOCO_GL" not in os.environ


def test_a_library_that_loads_but_draws_nothing_is_reported(monkeypatch):
    monkeypatch.setattr(rendering, "_loads", lambda library: True)
    monkeypatch.setattr(rendering, "_PROBE", "raise SystemExit('no display here')")
    with pytest.raises(ResourceError, match=r"egl made no context \(no display here\)"):
        choose_backend("egl")


def test_a_library_that_hangs_is_reported(monkeypatch):
    def run(*args, timeout, **kwargs):
        raise subprocess.TimeoutExpired("python", timeout)

    monkeypatch.setattr(rendering, "_loads", lambda library: True)
    monkeypatch.setattr(subprocess, "run", run)
    with pytest.raises(ResourceError, match="within 60 s"):
        choose_backend("egl")


def test_a_windowed_back_end_is_refused():
    os.environ["MUJOCO_GL"] = "glfw"
    with pytest.raises(ResourceError, match="MUJOCO_GL=glfw: expected egl or osmesa"):
        choose_backend("auto")


def test_a_process_cannot_change_back_ends(monkeypatch):
    probe_finds(monkeypatch)
    monkeypatch.setitem(sys.modules, "dm_control._render", SimpleNamespace(BACKEND="egl"))
    with pytest.raises(ResourceError, match="already renders with egl, wanted osmesa"):
        choose_backend("osmesa")


def model():
    vis = SimpleNamespace(
        global_=SimpleNamespace(offwidth=640, offheight=480), quality=SimpleNamespace(shadowsize=4096)
    )
    return SimpleNamespace(vis=vis, mat_reflectance=np.array([0.2, 1.0]), nmesh=0)


def test_shipped_leaves_quality_alone_and_fast_cuts_shadows_and_mirrors():
    shipped, fast = model(), model()
    apply_quality(shipped, "shipped")
    apply_quality(fast, "fast")
    assert shipped.vis.quality.shadowsize == 4096 and shipped.mat_reflectance.tolist() == [0.2, 1.0]
    assert fast.vis.quality.shadowsize == 0 and not fast.mat_reflectance.any()
    with pytest.raises(ParamsError, match="one of shipped, fast"):
        apply_quality(model(), "faster")


def ball_and_block():
    """A model with two meshes: a ball of radius 0.1 m with 2000 vertices, and a block a hundred times smaller."""
    turn = np.arange(2000) * np.pi * (3 - 5**0.5)
    z = np.linspace(-1, 1, 2000)
    ball = 0.1 * np.stack([np.sqrt(1 - z**2) * np.cos(turn), np.sqrt(1 - z**2) * np.sin(turn), z], 1)
    block = 0.001 * np.stack(np.meshgrid([0, 1], [0, 1], [0, 1]), -1).reshape(-1, 3)
    meshes = [("ball", ball), ("block", block)]
    assets = "".join(f'<mesh name="{n}" vertex="{" ".join(map(str, v.ravel()))}"/>' for n, v in meshes)
    geoms = "".join(f'<geom type="mesh" mesh="{n}"/>' for n, _ in meshes)
    return mujoco.MjModel.from_xml_string(f"<mujoco><asset>{assets}</asset><worldbody>{geoms}</worldbody></mujoco>")


def drawn(model, number):
    """A mesh's faces, and the positions and normals of their corners."""
    rows = slice(model.mesh_faceadr[number], model.mesh_faceadr[number] + model.mesh_facenum[number])
    face = model.mesh_face[rows]
    normals = model.mesh_normal[model.mesh_normaladr[number] :][model.mesh_facenormal[rows]]
    return face, model.mesh_vert[model.mesh_vertadr[number] :][face], normals


def test_coarse_meshes_keep_their_surface_and_leave_the_physics_alone():
    model, before = ball_and_block(), ball_and_block()
    apply_quality(model, "fast")
    face, corners, normals = drawn(model, 0)
    assert 100 < len(face) < 0.7 * len(drawn(before, 0)[0])
    assert np.allclose(np.linalg.norm(corners, axis=2), 0.1, rtol=1e-3)  # only vertices that were there
    edges = np.concatenate([face[:, [0, 1]], face[:, [1, 2]], face[:, [2, 0]]]).tolist()
    assert sorted(edges) == sorted([b, a] for a, b in edges)  # no holes, and every face the same way round
    outward = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    area = np.linalg.norm(outward, axis=1)
    assert area[(outward * corners.mean(1)).sum(1) <= 0].sum() < 0.01 * area.sum()  # slivers may fold over
    assert ((normals * corners).sum(2) > 0.09).all()  # each corner has a normal of its neighbourhood
    assert np.array_equal(drawn(model, 1)[0], drawn(before, 1)[0])  # smaller than a cell
    for name in ("mesh_vert", "mesh_graph", "mesh_polyvert", "geom_rbound"):
        assert np.array_equal(getattr(model, name), getattr(before, name)), name


def test_a_blank_frame_is_an_error():
    camera = SceneCamera(None, 0, "dmc-walker-walk")
    camera._camera = SimpleNamespace(render=lambda: np.zeros((64, 64, 3), np.uint8))
    with pytest.raises(ResourceError, match="dmc-walker-walk: the frame is blank"):
        camera.frame()
