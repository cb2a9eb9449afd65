"""Who walks there: a person's attributes, and what of them a picture depends on, as numbers."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Any

import numpy as np

GENDERS = ("male", "female")
TOPS = ("t-shirt", "shirt", "coat", "dress")
BOTTOMS = ("trousers", "shorts", "skirt")
HAIRS = ("bald", "short", "long")
GAITS = ("stand", "walk", "run", "phone")
CHOICES = {"gender": GENDERS, "top": TOPS, "bottom": BOTTOMS, "hair": HAIRS, "gait": GAITS}
STRIDE = {"stand": 1.0, "walk": 0.82, "run": 1.45, "phone": 0.76}  # metres of a stride, in heights
LIMITS = {"age": (4.0, 90.0), "build": (0.0, 1.0), "height": (0.9, 2.05), "skin": (1.0, 10.0)}
TRAITS = ("age", "height", "build", "skin")  # a condition's first numbers, each over its limits in -1..1


@dataclass(frozen=True)
class Person:
    """A person, as a scenario orders one.

    The identity decides what no attribute names: the colour of hair and shoes, patterns, hems, proportions.
    """

    age: float = 35.0
    """Years, 4 to 90."""
    gender: str = "female"
    """male or female."""
    build: float = 0.5
    """From 0, slim, to 1, heavy."""
    height: float | None = None
    """Metres, 0.9 to 2.05; None: what is usual for age and gender."""
    skin: float = 3.0
    """Tone, 1 (lightest) to 10 (darkest), of the Monk Skin Tone Scale (Monk, 2019), doi:10.31235/osf.io/pdf4c."""
    top: str = "shirt"
    """t-shirt, shirt, coat or dress."""
    bottom: str = "trousers"
    """trousers, shorts or skirt; under a dress trousers show, shorts do not."""
    top_colour: tuple[int, int, int] = (60, 90, 160)
    """Red, green and blue, 0 to 255."""
    bottom_colour: tuple[int, int, int] = (50, 50, 60)
    """Red, green and blue, 0 to 255."""
    hair: str = "short"
    """bald, short or long."""
    gait: str = "walk"
    """stand, walk, run or phone, which is walking with a phone held up."""
    temperament: float = 0.3
    """From 0, careful, to 1, reckless."""
    identity: int = 0
    """Which person of all that have these attributes."""

    def __post_init__(self) -> None:
        for name, accepted in CHOICES.items():
            if getattr(self, name) not in accepted:
                raise ValueError(f"{name}={getattr(self, name)!r}: give one of {', '.join(accepted)}")
        for name, (low, high) in (LIMITS | {"temperament": (0.0, 1.0)}).items():
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                raise ValueError(f"{name}={value}: give {low:g} to {high:g}")
        if self.top == "dress" and self.bottom == "skirt":
            raise ValueError("top='dress' with bottom='skirt': give trousers or shorts, which nobody sees")
        for name in ("top_colour", "bottom_colour"):
            colour = getattr(self, name)
            if len(colour) != 3 or not all(0 <= part <= 255 for part in colour):
                raise ValueError(f"{name}={colour}: give red, green and blue, each 0 to 255")

    @property
    def tall(self) -> float:
        """Height in metres, the usual one where none is given."""
        return usual_height(self.age, self.gender) if self.height is None else self.height


def usual_height(age: float, gender: str) -> float:
    """Median height in metres at an age in years: WHO's standards to 19; from 40 on adults lose 1 mm a year.

    Reference: WHO Child Growth Standards (2006) and Growth reference 5-19 years (2007).
    """
    years = (4, 6, 8, 10, 12, 14, 16, 19, 40, 90)
    medians = {
        "male": (1.03, 1.16, 1.27, 1.38, 1.49, 1.63, 1.73, 1.76, 1.76, 1.71),
        "female": (1.03, 1.15, 1.27, 1.39, 1.51, 1.60, 1.62, 1.63, 1.63, 1.58),
    }
    return float(np.interp(age, years, medians[gender]))


@dataclass(frozen=True)
class View:
    """How a person is seen: where they turn, in which moment of a stride, from where and in what light."""

    phase: float = 0.0
    """Part of a stride, 0 to 1, that is past since the right heel touched the ground."""
    azimuth: float = 0.0
    """Radians from where the camera is to where they face, seen from above, anticlockwise: 0 faces the camera."""
    elevation: float = 0.1
    """Radians that the camera looks down on them."""
    sun: float = 0.7
    """Share of the light that comes from the sun, 0 to 1; the rest comes from the sky."""
    sun_azimuth: float = 0.8
    """Radians from the camera to the sun, seen from above, anticlockwise."""


WIDTH = len(TRAITS) + sum(map(len, CHOICES.values())) + 6 + 2 + 2 + 1 + 3  # of a condition


def condition(person: Person, view: View) -> np.ndarray:
    """What a picture of a person is to show, as numbers (WIDTH,) float32."""
    one = {name: np.array([value]) for name, value in vars(view).items()}
    return seen_so(looks(person)[None], np.array([GAITS.index(person.gait)]), **one)[0]


def looks(person: Person) -> np.ndarray:
    """What of a condition (WIDTH,) is the person's own; the rest is zeros."""
    traits = {name: getattr(person, name) for name in TRAITS} | {"height": person.tall}
    numbers = [2 * (traits[name] - LIMITS[name][0]) / (LIMITS[name][1] - LIMITS[name][0]) - 1 for name in TRAITS]
    for name, accepted in CHOICES.items():
        numbers += [float(getattr(person, name) == one) for one in accepted]
    numbers += [part / 127.5 - 1 for part in (*person.top_colour, *person.bottom_colour)]
    return np.pad(np.array(numbers, np.float32), (0, WIDTH - len(numbers)))


def seen_so(
    own: np.ndarray,
    gait: np.ndarray,
    phase: np.ndarray,
    azimuth: np.ndarray,
    elevation: np.ndarray,
    sun: np.ndarray,
    sun_azimuth: np.ndarray,
) -> np.ndarray:
    """Conditions (n, WIDTH) of looks (n, WIDTH), in gaits (n,), as indices, and in views, number by number (n,)."""
    found, at = own.astype(np.float32), slices()
    found[:, at["gait"]] = np.eye(len(GAITS), dtype=np.float32)[gait]
    moves = gait != GAITS.index("stand")
    circle = lambda angle: np.stack([np.cos(angle), np.sin(angle)], -1)  # noqa: E731
    found[:, at["phase"]] = moves[:, None] * circle(2 * np.pi * phase)
    found[:, at["azimuth"]] = circle(azimuth)
    found[:, at["elevation"]] = np.asarray(elevation)[:, None] / 0.6
    found[:, at["light"]] = np.concatenate([sun[:, None] * circle(sun_azimuth), 2 * sun[:, None] - 1], -1)
    return found


@lru_cache(1)
def slices() -> dict[str, slice]:
    """Where in a condition each attribute, and each part of a view, is told."""
    parts = [(name, 1) for name in TRAITS] + [(name, len(accepted)) for name, accepted in CHOICES.items()]
    parts += [("top_colour", 3), ("bottom_colour", 3), ("phase", 2), ("azimuth", 2), ("elevation", 1), ("light", 3)]
    ends = np.cumsum([size for _, size in parts])
    return {name: slice(int(end) - size, int(end)) for (name, size), end in zip(parts, ends)}


def to_dict(person: Person) -> dict[str, Any]:
    """A person's attributes as JSON has them."""
    return {field.name: getattr(person, field.name) for field in fields(person)}
