"""Models as a camera of few pixels needs them: one mesh of some thousand triangles, with a colour a vertex.

MetaDrive's vehicles have up to 256,000 triangles in 48 parts and textures of megapixels, for a picture in which a car
is some dozen pixels wide. Each model is joined, decimated by quadric errors and coloured from its own textures, once.

Reference: Surface Simplification Using Quadric Error Metrics (Garland and Heckbert, 1997).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import fast_simplification
import numpy as np
from panda3d.core import (
    Geom,
    GeomEnums,
    GeomNode,
    GeomTriangles,
    GeomVertexArrayFormat,
    GeomVertexData,
    GeomVertexFormat,
    InternalName,
    MaterialAttrib,
    NodePath,
    TextureAttrib,
    Thread,
)
from scipy.spatial import cKDTree

WELD = 2000  # vertices closer than 1 / WELD of the model's unit are one


def baked(model: NodePath, triangles: int) -> NodePath:
    """A model as one mesh of about so many triangles, in the model's own coordinates."""
    parts = [_simple(*part) for part in _welded(list(_parts(model)), triangles)]
    starts = np.cumsum([0, *(len(points) for points, _, _ in parts)])
    points, colours = (np.concatenate([part[i] for part in parts]) for i in (0, 1))
    faces = np.concatenate([part[2] + start for part, start in zip(parts, starts)])
    return NodePath(_node(points, normals(points, faces), colours, faces))


def normals(points: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Unit normals (n, 3) of points (n, 3): of their faces (m, 3), by area."""
    a, b, c = (points[faces[:, i]] for i in range(3))
    face = np.cross(b - a, c - a)  # (m, 3)
    total = np.stack([np.bincount(faces.ravel(), np.repeat(face[:, k], 3), len(points)) for k in range(3)], 1)
    return total / (np.linalg.norm(total, axis=1, keepdims=True) + 1e-9)


def _parts(model: NodePath) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Points (n, 3), sRGB colours (n, 3) in 0..1 and faces (m, 3) of every geometry of a model."""
    for path in model.findAllMatches("**/+GeomNode"):
        turn = np.array([[path.getTransform(model).getMat().getCell(i, j) for j in range(4)] for i in range(4)])
        for i in range(path.node().getNumGeoms()):
            geom, state = path.node().getGeom(i), path.getState(model).compose(path.node().getGeomState(i))
            points = _column(geom, "vertex", 3)
            assert points is not None
            yield _moved(points, turn), _colours(state, _column(geom, "texcoord", 2), len(points)), _faces(geom)


def _moved(points: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    return (np.c_[points, np.ones(len(points))] @ matrix)[:, :3]


def _column(geom: Geom, name: str, width: int) -> np.ndarray | None:
    """A column of a geometry's vertices (n, width) float32, animated ones where they stand now."""
    data = geom.getVertexData()
    if data.getTransformBlendTable() is not None and name == "vertex":
        data = data.animateVertices(True, Thread.getCurrentThread())
    if not data.hasColumn(name):
        return None
    contents = GeomEnums.C_point if name == "vertex" else GeomEnums.C_texcoord
    layout = GeomVertexFormat()
    layout.addArray(GeomVertexArrayFormat(InternalName.make(name), width, GeomEnums.NT_float32, contents))
    plain = GeomVertexData(data).convertTo(GeomVertexFormat.registerFormat(layout))
    return np.frombuffer(memoryview(plain.getArray(0)).cast("B"), np.float32).reshape(-1, width).copy()


def _faces(geom: Geom) -> np.ndarray:
    geom, found = geom.decompose(), []
    for i in range(geom.getNumPrimitives()):
        primitive = GeomTriangles(geom.getPrimitive(i))
        primitive.makeIndexed()
        kind = np.uint16 if primitive.getIndexType() == GeomEnums.NT_uint16 else np.uint32
        found.append(np.frombuffer(memoryview(primitive.getVertices()).cast("B"), kind).astype(np.int64).reshape(-1, 3))
    return np.concatenate(found)


def _colours(state: Any, uv: np.ndarray | None, n: int) -> np.ndarray:
    """The texture's colour at each vertex times the material's base colour, as sRGB (n, 3) in 0..1."""
    material, texture = state.getAttrib(MaterialAttrib), state.getAttrib(TextureAttrib)
    base = np.ones(3)
    if material and material.getMaterial():
        base = np.array(material.getMaterial().getBaseColor())[:3]
    light = np.tile(base, (n, 1))
    if texture and texture.getTexture() and uv is not None:
        picture = texture.getTexture()
        w, h = picture.getXSize(), picture.getYSize()
        texels = np.frombuffer(picture.getRamImageAs("RGB"), np.uint8).reshape(h, w, 3)
        x, y = ((uv[:, i] % 1 * (side - 1)).astype(int) for i, side in enumerate((w, h)))
        light = _linear(texels[y, x] / 255) * base
    return np.clip(light, 0, 1) ** (1 / 2.2)


def _linear(x: np.ndarray) -> np.ndarray:
    return np.where(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055) ** 2.4)


Part = tuple[np.ndarray, np.ndarray, np.ndarray, int]


def _welded(parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]], triangles: int) -> Iterator[Part]:
    """Parts whose vertices in one place are one vertex, each with its share of the triangles."""
    total = sum(len(faces) for _, _, faces in parts)
    for points, colours, faces in parts:
        _, first, inverse = np.unique(
            (points * WELD).round().astype(np.int64), axis=0, return_index=True, return_inverse=True
        )
        inverse = inverse.ravel()
        count = np.bincount(inverse)
        mean = np.stack([np.bincount(inverse, colours[:, k]) / count for k in range(3)], 1)
        joined = inverse[faces]
        whole = (joined != np.roll(joined, 1, 1)).all(1)
        if whole.any():
            yield points[first], mean, joined[whole], max(12, triangles * len(faces) // total)


def _simple(points: np.ndarray, colours: np.ndarray, faces: np.ndarray, goal: int) -> tuple[np.ndarray, ...]:
    if goal >= len(faces):
        return points.astype(np.float32), colours, faces
    few, faces = fast_simplification.simplify(points.astype(np.float32), faces.astype(np.int32), target_count=goal)
    return few, colours[cKDTree(points).query(few)[1]], faces


def _node(points: np.ndarray, normal: np.ndarray, colours: np.ndarray, faces: np.ndarray) -> GeomNode:
    data = GeomVertexData("baked", GeomVertexFormat.getV3n3c4(), Geom.UHStatic)
    data.setNumRows(len(points))
    rows = np.zeros((len(points), data.getFormat().getArray(0).getStride()), np.uint8)
    rows[:, :24] = np.concatenate([points, normal], 1).astype(np.float32).view(np.uint8)
    rows[:, 24:28] = (np.c_[colours, np.ones(len(colours))] * 255).round().astype(np.uint8)
    data.modifyArrayHandle(0).copyDataFrom(rows.tobytes())
    primitive = GeomTriangles(Geom.UHStatic)
    primitive.setIndexType(GeomEnums.NT_uint32)
    indices = primitive.modifyVertices()
    indices.setNumRows(faces.size)
    indices.modifyHandle().copyDataFrom(faces.astype(np.uint32).tobytes())
    geom, node = Geom(data), GeomNode("baked")
    geom.addPrimitive(primitive)
    node.addGeom(geom)
    return node
