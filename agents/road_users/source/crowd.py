"""A crowd to learn from: persons drawn at random, each rendered in several moments and from several sides."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import NamedTuple

import cv2
import numpy as np

from gensim.agents.road_users.person import BOTTOMS, CHOICES, GAITS, GENDERS, HAIRS, TOPS, Person, View, condition
from gensim.agents.road_users.source.body import Bodies, Shape
from gensim.agents.road_users.source.camera import Scene, projected
from gensim.agents.road_users.source.clothes import Look, Wardrobe
from gensim.agents.road_users.source.gait import turns

HEIGHT = 128  # pixels of a picture, twice its width
MOMENTS, SIDES = 4, 3  # poses of a person, and pictures of each
CLOSE, FAR = 5.0, 40.0  # metres to the camera
# What is changed of somebody, one at a time. Identity: colours and patterns that no attribute names, and proportions.
ORDERED = ("age", "gender", "build", "height", "skin", "top", "bottom", "top_colour", "bottom_colour", "hair", "gait")
CHANGES = (*ORDERED, "azimuth", "identity")


class Shots(NamedTuple):
    """Pictures of one person.

    rgba uint8 (n, h, w, 4), the colours where nobody stands being those nearest; depth int8 (n, h, w), centimetres
    nearer than the person's middle; conditions float32 (n, WIDTH); joints float32 (n, 17, 3): column and row in shares
    of the height, and whether it is seen; distances float32 (n,) metres to the camera.
    """

    rgba: np.ndarray
    depth: np.ndarray
    conditions: np.ndarray
    joints: np.ndarray
    distances: np.ndarray


class Crowd:
    """Persons, each a function of a seed."""

    def __init__(self) -> None:
        self.bodies = Bodies()
        self.wardrobe = Wardrobe(self.bodies)

    def shots(self, seed: int, moments: int = MOMENTS, sides: int = SIDES) -> Shots:
        """Somebody's pictures, in some moments from some sides each."""
        rng = np.random.default_rng(seed)
        person, shape = self.drawn(rng)
        look = Look.drawn(person.age, rng)
        faces, colours, _ = self.wardrobe.dressed(person, look)
        phases = (rng.random() + np.arange(moments) / moments + rng.uniform(0, 0.2, moments)) % 1
        posed, joints = self.bodies.posed(shape, [turns(person.gait, at, person.age, look.looseness) for at in phases])
        found = []
        for phase, vertices, points in zip(phases, posed, joints):
            scene = Scene(vertices, faces, colours)
            found += [self._shot(scene, points, person, self._view(phase, rng), rng) for _ in range(sides)]
        return Shots(*(np.stack(some) for some in zip(*found)))

    def changed(self, seed: int) -> Shots:
        """Somebody's picture, and then one for each of CHANGES, in which that is otherwise and all else is held."""
        rng = np.random.default_rng((seed, 1))
        mine, other = self.drawn(rng), self.drawn(rng)
        view, second = self._view(rng.random(), rng), self._view(0.0, rng)
        found = []
        for name in ("", *CHANGES):
            person, shape = self.exchanged(name, mine, other, np.random.default_rng((seed, 2)))
            look = Look.drawn(person.age, np.random.default_rng((seed, 4 if name == "identity" else 3)))
            seen = replace(view, azimuth=second.azimuth) if name == "azimuth" else view
            faces, colours, _ = self.wardrobe.dressed(person, look)
            posed, joints = self.bodies.posed(shape, [turns(person.gait, view.phase, person.age, look.looseness)])
            scene = Scene(posed[0], faces, colours)
            found.append(self._shot(scene, joints[0], person, seen, np.random.default_rng((seed, 5))))
        return Shots(*(np.stack(some) for some in zip(*found)))

    def exchanged(
        self, name: str, mine: tuple[Person, Shape], other: tuple[Person, Shape], rng: np.random.Generator
    ) -> tuple[Person, Shape]:
        """Somebody with one of CHANGES taken from somebody else; of a few words another word, whatever they have."""
        person, shape = mine
        if name in ("age", "gender", "build", "height"):
            of = {"build": "weight"}.get(name, name)
            value = 1 - shape.gender if name == "gender" else getattr(other[1], of)
            shape = replace(shape, **{of: value})
        if name == "identity":
            shape = replace(shape, muscle=other[1].muscle, proportions=other[1].proportions)
        if name in CHOICES:
            ways = _otherwise(person, name)
            person = ways[rng.integers(len(ways))]
        elif name in ("age", "build", "skin", "top_colour", "bottom_colour"):
            person = replace(person, **{name: getattr(other[0], name)})
        return replace(person, height=float(np.clip(self.bodies.stature(shape), 0.9, 2.05))), shape

    def drawn(self, rng: np.random.Generator) -> tuple[Person, Shape]:
        """Anybody: every age, build, tone and garment is as likely as any other, whoever wears it."""
        age = float(rng.uniform(4, 90) if rng.random() < 0.7 else rng.uniform(4, 18))
        pick = lambda some: str(some[rng.integers(len(some))])  # noqa: E731
        colour = lambda: tuple(int(part) for part in rng.integers(10, 246, 3))  # noqa: E731
        top = pick(TOPS)
        person = Person(
            age=age,
            gender=pick(GENDERS),
            build=float(rng.random()),
            skin=float(rng.uniform(1, 10)),
            top=top,
            bottom=pick(BOTTOMS[:2] if top == "dress" else BOTTOMS),
            top_colour=colour(),  # type: ignore[arg-type]
            bottom_colour=colour(),  # type: ignore[arg-type]
            hair=pick(HAIRS),
            gait=pick(GAITS),
        )
        shape = self.bodies.shape(age, person.gender, person.build, rng)
        return replace(person, height=float(np.clip(self.bodies.stature(shape), 0.9, 2.05))), shape

    def _view(self, phase: float, rng: np.random.Generator) -> View:
        elevation = float(np.clip(rng.exponential(0.18) - 0.05, -0.05, 0.6))
        around, sun = rng.uniform(-np.pi, np.pi, 2)
        return View(float(phase), float(around), elevation, float(rng.random()), float(sun))

    def _shot(
        self, scene: Scene, points: np.ndarray, person: Person, view: View, rng: np.random.Generator
    ) -> tuple[np.ndarray, ...]:
        distance = float(np.exp(rng.uniform(np.log(CLOSE), np.log(FAR))))
        picture = scene.seen(view, distance, HEIGHT)
        at, away = projected(points, view, distance, HEIGHT)
        column, row = at[:, 0], at[:, 1]
        x, y = (np.clip(part.astype(int), 0, limit - 1) for part, limit in ((column, HEIGHT // 2), (row, HEIGHT)))
        hidden = picture.depth[y, x] - away > 0.12  # what is met there is nearer by more than a limb is thick
        joints = np.stack([column / HEIGHT, row / HEIGHT, ~hidden], -1)
        rgba = np.concatenate([spread(picture.rgb, picture.alpha), picture.alpha[..., None]], -1)
        depth = np.clip(picture.depth * 100, -127, 127).round().astype(np.int8)
        return rgba, depth, condition(person, view), joints.astype(np.float32), np.float32(distance)


def _otherwise(person: Person, name: str) -> list[Person]:
    """The same somebody, with each other word of an attribute that goes with all else."""
    found = []
    for word in CHOICES[name]:
        with suppress(ValueError):
            found.append(replace(person, **{name: word}))  # type: ignore[arg-type]
    return [one for one in found if one != person]


def spread(rgb: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """The same colours (h, w, 3), and where nobody stands those of the nearest pixel where somebody does."""
    empty = (alpha < 128).astype(np.uint8)
    if empty.all():
        return rgb
    _, nearest = cv2.distanceTransformWithLabels(empty, cv2.DIST_L2, 3, labelType=cv2.DIST_LABEL_PIXEL)
    full = empty == 0
    of = np.zeros(nearest.max() + 1, int)
    of[nearest[full]] = np.flatnonzero(full)
    return rgb.reshape(-1, 3)[of[nearest]]
