"""Bodies: the vertices of a person in a moment of their stride, and their joints."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import anny
import numpy as np
import torch
from anny.keypoints import KeypointsRegressor
from anny.shape_distribution import SimpleShapeDistribution

from gensim.agents.road_users.coco import KEYPOINTS
from gensim.agents.road_users.source.gait import Turn

GROUPS = ("body", "helper-tights", "helper-skirt", "helper-hair")


@dataclass(frozen=True)
class Shape:
    """What a mesh is made of: the parametric model's own numbers, each 0 to 1; and metres, which they lead to."""

    age: float
    gender: float
    muscle: float
    weight: float
    height: float
    proportions: float


class Bodies:
    """The parametric mesh of people from child to elder, and the helper meshes that clothes and hair are made of.

    Reference: Human Mesh Modeling for Anny Body (Brégier et al., 2025), arXiv:2511.03589.
    """

    def __init__(self) -> None:
        self.model = anny.Anny(topology="makehuman")
        self.usual = SimpleShapeDistribution(self.model)
        self.joints = KeypointsRegressor.coco(self.model, list(KEYPOINTS))
        self.faces = _faces(Path(anny.__file__).parent / "data" / "mpfb2" / "3dobjs" / "base.obj")
        weights, bones = self.model.vertex_bone_weights.numpy(), self.model.vertex_bone_indices.numpy()
        main = bones[np.arange(len(weights)), weights.argmax(1)]
        self.bone = np.array(self.model.bone_labels)[main]  # (vertices,) whose bone moves a vertex most
        self.template = self.model.template_vertices.numpy()  # (vertices, 3) metres, x left, y back, z up
        self.skin = np.unique(self.faces["body"])

    def shape(self, age: float, gender: str, build: float, rng: np.random.Generator) -> Shape:
        """Somebody of an age in years, a gender and a build, their height drawn from those of that age."""
        years = torch.tensor([age], dtype=self.model.dtype)
        own = self.usual.morphological_age_mapping.morphological_to_anny_age(years)
        kind = "girls" if gender == "female" else "boys"
        drawn = {}
        for name in ("height", "muscle", "proportions"):
            law = getattr(self.usual, f"{kind}_conditional_{name}_distribution").get_torch_distribution(own)
            drawn[name] = float(rng.beta(float(law.concentration1), float(law.concentration0)))
        return Shape(float(own), float(gender == "female"), weight=build, **drawn)

    def posed(self, shape: Shape, turns: Sequence[Sequence[Turn]]) -> tuple[np.ndarray, np.ndarray]:
        """Vertices (n, v, 3) and joints (n, 17, 3) of a body in n poses, metres, the feet on the ground, facing -y."""
        n = len(turns)
        pose = torch.eye(4, dtype=self.model.dtype).repeat(n, self.model.bone_count, 1, 1)
        for i, bones in enumerate(turns):
            for bone, turned in bones:
                pose[i, self.model.bone_labels.index(bone), :3, :3] = torch.from_numpy(turned)
        numbers = {name: torch.full((n,), value, dtype=self.model.dtype) for name, value in vars(shape).items()}
        out = self.model(pose_parameters=pose, phenotype_kwargs=numbers)
        found, joints = out["vertices"].numpy(), self.joints(out).numpy()
        low = found[:, self.skin, 2].min(1)[:, None]
        found[..., 2] -= low
        joints[..., 2] -= low
        return found.astype(np.float32), joints.astype(np.float32)

    def stature(self, shape: Shape) -> float:
        """Metres from sole to crown, standing straight."""
        upright, _ = self.posed(shape, [[]])
        return float(np.ptp(upright[0, self.skin, 2]))


def _faces(path: Path) -> dict[str, np.ndarray]:
    """Triangles (f, 3) of the groups of an OBJ file."""
    found: dict[str, list[list[int]]] = {name: [] for name in GROUPS}
    group = ""
    for line in path.read_text().splitlines():
        if line.startswith("g "):
            group = line.split()[1]
        elif line.startswith("f ") and group in found:
            a, b, c, *rest = [int(corner.split("/")[0]) - 1 for corner in line.split()[1:]]
            found[group] += [[a, b, c]] + [[a, c, d] for d in rest]
    return {name: np.array(faces) for name, faces in found.items()}
