"""A camera by rays: colour, coverage and depth of dressed bodies.

Rays are cast by Embree, through embreex, which trimesh's authors keep: it needs no display, no OpenGL and no graphics
card, is exact at silhouettes, and says which face a ray met.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from embreex.mesh_construction import TriangleMesh
from embreex.rtcore_scene import EmbreeScene

from gensim.agents.road_users.camera import MIDDLE, TALL, WIDE
from gensim.agents.road_users.person import View

SUPER = 3  # rays a pixel's side


@dataclass(frozen=True)
class Picture:
    """Colours (h, w, 3) uint8 of whom is seen, coverage (h, w) uint8, and metres nearer than the middle (h, w)."""

    rgb: np.ndarray
    alpha: np.ndarray
    depth: np.ndarray


class Scene:
    """A dressed body that rays are cast at."""

    def __init__(self, vertices: np.ndarray, faces: np.ndarray, colours: np.ndarray) -> None:
        corners = np.ascontiguousarray(vertices[faces], np.float32)  # (f, 3, 3)
        self.scene, self.colours = EmbreeScene(), colours
        self.mesh = TriangleMesh(self.scene, corners)
        self.normals = _smooth(vertices, faces)  # (v, 3)
        self.faces = faces

    def seen(self, view: View, distance: float, height: int) -> Picture:
        """The picture of `height` pixels, half as wide, from a distance in metres."""
        rows, columns = height * SUPER, height // 2 * SUPER
        right, up, ahead = axes(view)
        y = TALL / 2 - (np.arange(rows) + 0.5) / rows * TALL
        x = (np.arange(columns) + 0.5) / columns * WIDE - WIDE / 2
        target = np.array([0, 0, MIDDLE]) + x[None, :, None] * right + y[:, None, None] * up  # (rows, columns, 3)
        eye = np.array([0, 0, MIDDLE]) - distance * ahead
        toward = (target - eye).reshape(-1, 3)
        toward /= np.linalg.norm(toward, axis=1, keepdims=True)
        hit = self.scene.run(np.broadcast_to(eye, toward.shape).astype(np.float32), toward.astype(np.float32), output=1)
        met = hit["primID"] >= 0
        colour = np.zeros((rows * columns, 3), np.float32)
        colour[met] = self._lit(hit, met, view, right, ahead, toward)
        near = np.zeros(rows * columns, np.float32)
        near[met] = distance - hit["tfar"][met] * (toward[met] @ ahead)
        return _pooled(colour.reshape(rows, columns, 3), met.reshape(rows, columns), near.reshape(rows, columns))

    def _lit(self, hit: dict, met: np.ndarray, view: View, right: np.ndarray, ahead: np.ndarray, toward: np.ndarray):  # type: ignore[no-untyped-def, type-arg]
        """Colours of what rays met: the sun's light by Lambert's law, the sky's by how far a face looks up."""
        face = hit["primID"][met]
        u, v = hit["u"][met][:, None], hit["v"][met][:, None]
        corners = self.normals[self.faces[face]]  # (m, 3, 3)
        normal = (1 - u - v) * corners[:, 0] + u * corners[:, 1] + v * corners[:, 2]
        normal /= np.linalg.norm(normal, axis=1, keepdims=True) + 1e-9
        normal *= -np.sign((normal * toward[met]).sum(1, keepdims=True))  # cloth is seen from both sides
        flat = -ahead * np.array([1, 1, 0])
        flat /= np.linalg.norm(flat)
        sun = np.cos(view.sun_azimuth) * flat + np.sin(view.sun_azimuth) * right
        sun = sun * 0.8 + np.array([0, 0, 0.6])
        light = view.sun * np.clip(normal @ sun, 0, None) * 1.05 + (0.9 - 0.55 * view.sun) * (
            0.62 + 0.38 * normal[:, 2]
        )
        return self.colours[face] * light[:, None]


def axes(view: View) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Unit vectors to the camera's right, up and ahead, while the body faces -y and the camera goes round."""
    a, e = -view.azimuth, view.elevation
    where = np.array([np.sin(a), -np.cos(a), 0.0])  # from the body to the camera, on the ground
    ahead = -where * np.cos(e) - np.array([0, 0, np.sin(e)])
    right = np.cross(ahead, [0, 0, 1.0])
    right /= np.linalg.norm(right)
    return right, np.cross(right, ahead), ahead


def projected(points: np.ndarray, view: View, distance: float, height: int) -> tuple[np.ndarray, np.ndarray]:
    """Where points (n, 3) in metres are in a picture of `height` pixels: columns and rows (n, 2); and how much nearer
    than the middle (n,)."""
    right, up, ahead = axes(view)
    away = points - (np.array([0, 0, MIDDLE]) - distance * ahead)
    scale = distance / (away @ ahead) * height / TALL
    at = np.stack([height / 4 + away @ right * scale, height / 2 - away @ up * scale], -1)
    return at, distance - away @ ahead


def _pooled(colour: np.ndarray, met: np.ndarray, near: np.ndarray) -> Picture:
    blocks = lambda x: x.reshape(x.shape[0] // SUPER, SUPER, x.shape[1] // SUPER, SUPER, -1).sum((1, 3))  # noqa: E731
    count = blocks(met[..., None].astype(np.float32))  # (h, w, 1)
    rgb = blocks(colour) / np.maximum(count, 1)
    depth = blocks(near[..., None]) / np.maximum(count, 1)
    return Picture(
        np.clip(rgb, 0, 255).round().astype(np.uint8),
        (count[..., 0] * 255 / SUPER**2).round().astype(np.uint8),
        depth[..., 0],
    )


def _smooth(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Normals (v, 3) of vertices, each the mean of its faces' by area."""
    a, b, c = (vertices[faces[:, i]] for i in range(3))
    normal = np.cross(b - a, c - a)
    return np.stack(
        [sum(np.bincount(faces[:, i], normal[:, k], len(vertices)) for i in range(3)) for k in range(3)], -1
    )  # type: ignore[return-value]
