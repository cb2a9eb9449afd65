"""gensim people: pictures of people as they were ordered."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from gensim.agents.road_users.painter import Painter
    from gensim.agents.road_users.person import Person, View

SHADE = (168, 172, 170)  # behind people
STEPS = 8  # pictures of a sweep
SPEEDS = {"stand": 0.0, "walk": 1.35, "phone": 1.15, "run": 2.6}  # metres a second
FPS = 25


@dataclass(frozen=True)
class People:
    """Draw people: some of those who fit the order, one from all sides, or one attribute after the other."""

    out: Path = Path("people.png")
    """Picture to write; a video of somebody walking if it ends with .mp4."""
    age: float | None = None
    """Years, 4 to 90. What is not ordered is drawn for each person."""
    gender: str | None = None
    """male or female."""
    build: float | None = None
    """From 0, slim, to 1, heavy."""
    height: float | None = None
    """Metres, 0.9 to 2.05."""
    skin: float | None = None
    """Tone, 1 (lightest) to 10 (darkest)."""
    top: str | None = None
    """t-shirt, shirt, coat or dress."""
    bottom: str | None = None
    """trousers, shorts or skirt."""
    top_colour: tuple[int, int, int] | None = None
    """Red, green and blue, 0 to 255."""
    bottom_colour: tuple[int, int, int] | None = None
    """Red, green and blue, 0 to 255."""
    hair: str | None = None
    """bald, short or long."""
    gait: str | None = None
    """stand, walk, run or phone."""
    sweep: str | None = None
    """Attribute to go through, all else held, a person a row: age, gender, build, height, skin, top, bottom,
    top_colour, bottom_colour, hair or gait; or phase, azimuth, elevation, sun, sun_azimuth."""
    count: int = 24
    """People on the picture; of a sweep, rows."""
    seed: int = 0
    """What is drawn for the first person; the next one's is one more."""
    pixels: int = 64
    """Height that people are drawn at: 32, 64 or 128, as far as the weights go."""
    scale: int = 2
    """Pixels of the picture for each one drawn, each way."""
    seconds: float = 4.0
    """Length of a video."""
    json: bool = False
    """Print one JSON object: who was drawn."""

    def __post_init__(self) -> None:
        if self.count < 1 or self.scale < 1 or self.seconds <= 0:
            raise ValueError("count, scale and seconds: give at least 1, and more than 0 seconds")


def run(options: People) -> int:
    """Draws, writes and says where it is."""
    from gensim.agents.road_users.painter import shipped
    from gensim.agents.road_users.person import to_dict
    from gensim.core.frames import mosaic, write_png

    painter = shipped()
    if options.pixels not in painter.heights:
        raise ValueError(f"pixels={options.pixels}: give one of {', '.join(map(str, painter.heights))}")
    pairs = swept(options) if options.sweep else [drawn(options, i) for i in range(options.count)]
    if options.out.suffix == ".mp4":
        pairs = pairs[:1]
        _walk(options, painter)
    else:
        columns = len(pairs) // options.count if options.sweep else int(np.ceil(np.sqrt(2 * options.count)))
        write_png(options.out, mosaic(pictures(options, painter, pairs), columns))
    told = {"out": str(options.out), "people": [to_dict(person) | vars(view) for person, view in pairs]}
    print(json.dumps(told) if options.json else f"{options.out}: people drawn by a GAN that learned from renders")
    return 0


def drawn(options: People, index: int) -> tuple[Person, View]:
    """Somebody who fits the order, and a view."""
    from gensim.agents.road_users.person import BOTTOMS, GAITS, GENDERS, HAIRS, TOPS, Person, View

    rng = np.random.default_rng(options.seed + index)
    pick = lambda some: str(some[rng.integers(len(some))])  # noqa: E731
    colour = lambda: tuple(int(part) for part in rng.integers(10, 246, 3))  # noqa: E731
    person = {
        "age": float(rng.uniform(4, 90)),
        "gender": pick(GENDERS),
        "build": float(rng.random()),
        "height": None,
        "skin": float(rng.uniform(1, 10)),
        "top": pick(TOPS),
        "bottom": pick(BOTTOMS),
        "top_colour": colour(),
        "bottom_colour": colour(),
        "hair": pick(HAIRS),
        "gait": pick(GAITS),
    }
    person |= {name: value for name in person if (value := getattr(options, name)) is not None}
    if person["top"] == "dress" and person["bottom"] == "skirt" and not (options.top and options.bottom):
        person["bottom" if options.bottom is None else "top"] = "shorts" if options.bottom is None else "shirt"
    view = View(float(rng.random()), float(rng.uniform(-np.pi, np.pi)), float(rng.uniform(0, 0.2)))
    return Person(identity=options.seed + index, **person), view  # type: ignore[arg-type]


def swept(options: People) -> list[tuple[Person, View]]:
    """A row a person, in which one attribute changes."""
    from gensim.agents.road_users.person import CHOICES, LIMITS

    name = options.sweep or ""
    turns = {"phase": (0, 1), "azimuth": (0, 2 * np.pi), "elevation": (0, 0.5), "sun": (0, 1), "sun_azimuth": (0, 6.28)}
    ends = LIMITS | turns
    if name in CHOICES:
        values: list[object] = list(CHOICES[name])
    elif name in ends:
        low, high = ends[name]
        values = [float(value) for value in np.linspace(low, high, STEPS, endpoint=name in LIMITS)]
    elif name in ("top_colour", "bottom_colour"):
        values = [tuple(int(255 * part) for part in rgb) for rgb in _hues()]
    else:
        known = ", ".join([*CHOICES, *ends, "top_colour", "bottom_colour"])
        raise ValueError(f"sweep={name!r}: give one of {known}")
    found = []
    for person, view in (drawn(options, i) for i in range(options.count)):
        view = view if name == "azimuth" else replace(view, azimuth=0.5)
        person = replace(person, bottom="trousers") if name == "top" else person
        person = replace(person, top="shirt") if name == "bottom" else person
        for value in values:
            changed: dict[str, Any] = {name: value}
            found.append((person, replace(view, **changed)) if name in turns else (replace(person, **changed), view))
    return found


def _hues() -> np.ndarray:
    import cv2

    hues = np.stack([np.linspace(0, 180, STEPS, endpoint=False), np.full(STEPS, 200), np.full(STEPS, 210)], -1)
    return cv2.cvtColor(hues.astype(np.uint8)[None], cv2.COLOR_HSV2RGB)[0] / 255


def pictures(options: People, painter: Painter, pairs: list[tuple[Person, View]]) -> np.ndarray:
    """Pictures uint8 (n, h, w, 3) of persons in views, before a plain ground."""
    x = painter.people([person for person, _ in pairs], [view for _, view in pairs], options.pixels)
    shown = x[..., :3] * 255 + (1 - x[..., 3:]) * np.array(SHADE)
    return shown.round().astype(np.uint8).repeat(options.scale, 1).repeat(options.scale, 2)


def _walk(options: People, painter: Painter) -> None:
    """A video of the first person, walking as the camera goes round them once."""
    from gensim.agents.road_users.person import STRIDE
    from gensim.core.video import VideoWriter

    person, view = drawn(options, 0)
    count = max(2, round(options.seconds * FPS))
    rate = SPEEDS[person.gait] / (STRIDE[person.gait] * person.tall)  # strides a second
    views = [replace(view, phase=i * rate / FPS % 1, azimuth=2 * np.pi * i / count) for i in range(count)]
    frames = pictures(options, painter, [(person, one) for one in views])
    with VideoWriter(options.out, FPS, frames.shape[1:3]) as video:
        for picture in frames:
            video.write(picture)
