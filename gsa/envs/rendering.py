"""How images are made: which OpenGL back-end, at what quality, and one camera class that both suites share.

Every image goes through dm_control's ``Physics``, because several environments then live in one process without
showing each other's frames (two Meta-World environments with their own renderers do: measured 78 grey levels apart).
"""

import atexit
import ctypes
import logging
import os
import subprocess
import sys
from typing import Any

import numpy as np
from jaxtyping import UInt8

from gsa.episode import IMAGE_SIZE
from gsa.errors import BrokenWorkerError, ParamsError, ResourceError

PROBE_SECONDS = 60
"""How long a back-end may take to make its first context: 0.3 s of work, but 20 s were too few on an overloaded CPU."""

_LIBRARIES = {
    "egl": (("libEGL.so.1",), "libegl1 libgl1-mesa-dri"),
    "osmesa": (("libOSMesa.so.8", "libOSMesa.so.6", "libOSMesa.so"), "libosmesa6"),
}
"""Shared libraries of each back-end (any one will do) and the Debian packages that bring them."""

_PROBED = "GSA_GL_PROBED"
"""Environment variable that tells child processes which back-end their parent has already tried."""

_PROBE = "from dm_control import _render; context = _render.Renderer(64, 64); context.free()"

BLACK_FRAME: UInt8[np.ndarray, "3 64 64"] = np.zeros((3, IMAGE_SIZE, IMAGE_SIZE), np.uint8)
"""Stands for the image where an environment does not render; shared, so read-only."""
BLACK_FRAME.flags.writeable = False


QUALITY: dict[str, dict[str, int]] = {
    "shipped": {},
    "fast": {"shadowsize": 0, "offsamples": 0, "numslices": 12, "numstacks": 8, "numquads": 2},
}
"""Presets by the name of ``render.quality``: shadow map, antialiasing samples, and the facets of round primitives
(slices around, stacks along, quads per box side) in MuJoCo's ``vis.quality``. ``shipped`` leaves the model as its
authors ship it; any other preset also draws no mirrors and coarse meshes. Without shadows and mirrors the scene is
drawn once instead of up to four times; most of the 68k faces of Meta-World's arm are smaller than a pixel, which shows
about 0.02 m of it. ``python -m benchmarks.render`` prints the gain and the cost."""

MESH_CELL = 0.015
"""Size in metres of the cells in which a mesh's vertices become one."""


def apply_quality(model: Any, quality: str) -> None:
    """Set a MuJoCo model's picture quality; only contexts made afterwards see it.

    The off-screen buffer shrinks to the image's size in either preset, which changes no pixel.

    Raises:
        ParamsError: no such preset.
    """
    if quality not in QUALITY:
        raise ParamsError(f"unknown render.quality {quality!r}; one of {', '.join(QUALITY)}")
    model.vis.global_.offwidth = model.vis.global_.offheight = IMAGE_SIZE
    for name, value in QUALITY[quality].items():
        setattr(model.vis.quality, name, value)
    if quality == "shipped":
        return
    model.mat_reflectance[:] = 0.0
    for mesh in range(model.nmesh):
        _coarsen(model, mesh)


def _coarsen(model: Any, mesh: int) -> None:
    """Draw a mesh with one vertex for each cell (vertex clustering, Rossignac and Borrel 1993).

    Only the list of faces changes, in place. Collisions use vertices and convex hulls, so the physics stays the same.
    """
    at, number = model.mesh_vertadr[mesh], model.mesh_vertnum[mesh]
    vertices = model.mesh_vert[at : at + number]
    _, cells = np.unique(np.floor(vertices / MESH_CELL), axis=0, return_inverse=True)
    cells = cells.ravel()
    centres = np.stack([np.bincount(cells, axis) for axis in vertices.T], 1) / np.bincount(cells)[:, None]
    order = np.lexsort((np.square(vertices - centres[cells]).sum(1), cells))
    nearest = order[np.unique(cells[order], return_index=True)[1]]  # to its cell's centre, for each cell
    at, number = model.mesh_faceadr[mesh], model.mesh_facenum[mesh]
    face = nearest[cells[model.mesh_face[at : at + number]]]
    turned = (face.argmin(1)[:, None] + np.arange(3)) % 3  # the smallest corner first, the same way round
    _, unique = np.unique(np.take_along_axis(face, turned, 1), axis=0, return_index=True)
    keep = np.sort(unique)
    keep = keep[(face != np.roll(face, 1, 1))[keep].all(1)]
    if not len(keep):
        return  # smaller than a cell: as it was
    model.mesh_face[at : at + len(keep)] = face[keep]
    for corners in (model.mesh_facenormal, model.mesh_facetexcoord):
        corners[at : at + len(keep)] = corners[at + keep]
    model.mesh_facenum[mesh] = len(keep)


def choose_backend(wanted: str) -> str:
    """Make ``egl`` or ``osmesa`` this process's (and its children's) OpenGL back-end and return its name.

    ``auto`` takes MUJOCO_GL where the user set it, otherwise the first of egl, osmesa that works. A back-end works when
    its library loads and a child process makes a context with it within ``PROBE_SECONDS``. Must run before dm_control
    is imported, since that reads MUJOCO_GL once.

    Raises:
        ResourceError: no back-end works (the message says why for each and names the packages), MUJOCO_GL is neither
            of the two, or dm_control already renders with another one.
    """
    inherited = os.environ.get("MUJOCO_GL", "").strip().lower()
    if wanted == "auto" and inherited not in ("", *_LIBRARIES):
        raise ResourceError(
            f"MUJOCO_GL={inherited}: expected egl or osmesa, the off-screen back-ends; unset it or set one of these"
        )
    candidates = [wanted] if wanted != "auto" else [inherited] if inherited else list(_LIBRARIES)
    failures = []
    for backend in candidates:
        failure = "" if os.environ.get(_PROBED) == backend else _probe(backend)
        if not failure:
            _settle(backend)
            return backend
        failures.append(failure)
    raise ResourceError(f"cannot render: {'; '.join(failures)}")


def _probe(backend: str) -> str:
    """Why the back-end does not work, in one line; empty where it does."""
    libraries, packages = _LIBRARIES[backend]
    remedy = f"install {packages} (Debian) or choose another render.backend"
    if not any(_loads(library) for library in libraries):
        return f"{backend} has no {libraries[0]}, {remedy}"
    environment = os.environ | {"MUJOCO_GL": backend, "PYOPENGL_PLATFORM": backend}
    try:
        child = subprocess.run(
            [sys.executable, "-c", _PROBE], env=environment, capture_output=True, text=True, timeout=PROBE_SECONDS
        )
    except subprocess.TimeoutExpired:
        return f"{backend} made no context within {PROBE_SECONDS} s, {remedy}"
    if child.returncode != 0:
        last = (child.stderr.strip().splitlines() or [f"exit status {child.returncode}"])[-1]
        return f"{backend} made no context ({last}), {remedy}"
    return ""


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def _settle(backend: str) -> None:
    loaded = sys.modules.get("dm_control._render")
    if loaded is not None and backend != loaded.BACKEND:
        raise ResourceError(
            f"this process already renders with {loaded.BACKEND}, wanted {backend}; choose the back-end before "
            "dm_control is imported, or start another process"
        )
    os.environ.update({"MUJOCO_GL": backend, "PYOPENGL_PLATFORM": backend, _PROBED: backend})
    # Mesa's software rasteriser would start a thread a core; 64x64 pixels gain nothing and parallel workers lose.
    os.environ.setdefault("LP_NUM_THREADS", "0")
    for chatter in ("absl", "OpenGL"):  # say at INFO which back-end and MuJoCo version they load, on every start
        logging.getLogger(chatter).setLevel(logging.WARNING)


class SceneCamera:
    """One fixed camera of one simulator, rendered to ``(3, 64, 64)`` uint8; the context is made at the first frame.

    ``physics`` is a dm_control ``Physics``. ``flip_rows`` turns an image that the camera's own roll shows upside down.
    """

    def __init__(self, physics: Any, camera: int | str, where: str, flip_rows: bool = False):
        self._physics, self._camera_id, self._where, self._flip_rows = physics, camera, where, flip_rows
        self._camera: Any = None

    def frame(self) -> UInt8[np.ndarray, "3 64 64"]:
        """The picture of the simulator's present state.

        Raises:
            BrokenWorkerError: the picture has one colour only, which the driver gives when its context is broken.
        """
        if self._camera is None:
            from dm_control.mujoco.engine import Camera

            self._camera = Camera(self._physics, IMAGE_SIZE, IMAGE_SIZE, self._camera_id)
            atexit.register(self.close)  # after dm_control's own handler, hence run before it: it prints tracebacks
        pixels = self._camera.render()
        if pixels.min() == pixels.max():
            raise BrokenWorkerError(
                f"{self._where}: the frame is blank (every pixel {pixels.flat[0]}) with MUJOCO_GL="
                f"{os.environ.get('MUJOCO_GL')}; choose another render.backend"
            )
        if self._flip_rows:
            pixels = pixels[::-1]
        return np.ascontiguousarray(pixels.transpose(2, 0, 1))

    def close(self) -> None:
        """Free the scene and the physics' context; the camera must not be used afterwards."""
        if self._camera is not None:
            atexit.unregister(self.close)
            self._camera.scene.free()
            self._camera = None
            self._physics.free()
