"""Draws people: a GAN that was fitted to renders, laid out for drawing many at once."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from gensim.agents.road_users.person import WIDTH, Person, View, condition
from gensim.core.files import load_tensors, save_tensors
from gensim.core.seeds import uniform
from gensim.models.gan import CHANNELS, Generator
from gensim.world.tiles import map_tiles

WEIGHTS = Path(__file__).parent / "people.safetensors"
FORMAT = "gensim road users people 1"
STREAM = 65  # of draws that make an identity
JOINTS = 17  # COCO's
FAINT = 0.05  # coverage below which nothing is there


class Joints(nn.Module):
    """Where a condition's joints are in its picture, as shares of its height, and the log-odds that they are seen.

    They are foretold of the condition alone; no picture is looked at.
    """

    def __init__(self, conditions: int, hidden: int = 256) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(conditions, hidden),
            nn.SiLU(),
            nn.Linear(hidden, hidden),
            nn.SiLU(),
            nn.Linear(hidden, 3 * JOINTS),
        )

    def forward(self, told: Tensor) -> Tensor:
        """Columns, rows and log-odds (n, 17, 3)."""
        return self.layers(told).unflatten(-1, (JOINTS, 3))


class Painter:
    """Draws people by their conditions and identities.

    A picture shows 2.2 by 1.1 metres, the feet 0.1 m over its lower edge; its colours are times its coverage. Equal
    people in equal views are equal bytes, whoever else is drawn beside them.

    Arguments:
        net: the generator.
        joints: what tells where joints are.
    """

    def __init__(self, net: Generator, joints: Joints) -> None:
        self.net = net.freeze()
        self.joints = joints.eval().requires_grad_(False)

    @property
    def heights(self) -> tuple[int, ...]:
        """Pixels that pictures may be high."""
        return self.net.sizes

    def paint(self, told: np.ndarray, identities: np.ndarray, height: int = 64) -> np.ndarray:
        """Pictures float32 (n, height, height / 2, 4) in 0..1 of conditions (n, WIDTH) and identities (n,) uint64."""
        if height not in self.heights:
            raise ValueError(f"height={height}: give one of {', '.join(map(str, self.heights))}")
        if not len(told):
            return np.zeros((0, height, height // 2, CHANNELS), np.float32)
        (drawn,) = map_tiles(lambda c, z: (self._drawn(c, z, height),), *self._rows(told, identities))
        return drawn.permute(0, 2, 3, 1).numpy()

    def places(self, told: np.ndarray) -> np.ndarray:
        """Joints (n, 17, 3): columns and rows in shares of the height, and the chance 0..1 that one is seen."""
        if not len(told):
            return np.zeros((0, JOINTS, 3), np.float32)
        (x,) = map_tiles(lambda c: (self.joints(c),), torch.from_numpy(np.asarray(told, np.float32)))
        return torch.cat([x[..., :2], x[..., 2:].sigmoid()], -1).numpy()

    def people(self, persons: Sequence[Person], views: Sequence[View], height: int = 64) -> np.ndarray:
        """The same of persons, each in a view."""
        told = np.stack([condition(person, view) for person, view in zip(persons, views, strict=True)])
        return self.paint(told, np.array([person.identity for person in persons], np.uint64), height)

    def save(self, path: Path) -> None:
        """Writes the weights, in half precision, all or nothing."""
        about = {"format": FORMAT, "identity": self.net.identity, "widths": self.net.widths, "conditions": WIDTH}
        tensors = {f"net.{name}": value.half() for name, value in self.net.state_dict().items()}
        tensors |= {f"joints.{name}": value.half() for name, value in self.joints.state_dict().items()}
        save_tensors(path, tensors, {"about": json.dumps(about)})

    @classmethod
    def load(cls, path: Path = WEIGHTS) -> Painter:
        """Weights that `save` wrote; ValueError if they are something else."""
        tensors, told = load_tensors(path)
        about = json.loads(told.get("about", "{}"))
        if about.get("format") != FORMAT or about.get("conditions") != WIDTH:
            raise ValueError(f"{path} holds no people of this version ({about}); fit them anew or give another file")
        hidden = {name: len(tensors[f"{name}.0.bias"]) for name in ("net.told", "joints.layers")}
        net = Generator(WIDTH, int(about["identity"]), about["widths"], hidden=hidden["net.told"])
        joints = Joints(WIDTH, hidden["joints.layers"])
        net.load_state_dict({k.removeprefix("net."): v.float() for k, v in tensors.items() if k.startswith("net.")})
        joints.load_state_dict(
            {k.removeprefix("joints."): v.float() for k, v in tensors.items() if k.startswith("joints.")}
        )
        return cls(net, joints)

    def _drawn(self, told: Tensor, identity: Tensor, size: int) -> Tensor:
        x = self.net(told, identity, size)[0].clamp_(0, 1)
        cover = torch.where(x[:, 3:] < FAINT, 0.0, x[:, 3:])
        return torch.cat([torch.minimum(x[:, :3], cover), cover], 1)  # no colour is brighter than its coverage

    def _rows(self, told: np.ndarray, identities: np.ndarray) -> tuple[Tensor, Tensor]:
        return torch.from_numpy(np.asarray(told, np.float32)), latents(identities, self.net.identity)


def latents(identities: np.ndarray, width: int) -> Tensor:
    """Standard normal latents float32 (n, width) of identities (n,) uint64."""
    u = uniform(np.asarray(identities, np.uint64), STREAM, np.zeros(len(identities), np.int64), width)
    return torch.special.ndtri(torch.from_numpy(u)).float()


@lru_cache(1)
def shipped() -> Painter:
    """The people that come with gensim."""
    if not WEIGHTS.exists():
        raise FileNotFoundError(
            f"{WEIGHTS} is not there: copy the whole folder, make it by scripts/render_people and scripts/fit_people, "
            "or give painter=, a Painter"
        )
    return Painter.load()
