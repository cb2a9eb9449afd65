"""Draws people for the README: a sheet of them, sweeps, and people crossing a dreamed street."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import gymnasium as gym
import numpy as np
import tyro

import gensim  # noqa: F401
from gensim.agents.road_users import Person, RoadUser, RoadUsers
from gensim.agents.road_users.painter import shipped
from gensim.commands.people import People, drawn, pictures, swept
from gensim.core.frames import mosaic, write_png
from gensim.core.video import VideoWriter

SWEEPS = ("age", "build", "skin", "top", "bottom", "hair", "azimuth", "phase", "top_colour")
COLUMNS, ROWS = 8, 4  # of people at random


@dataclass(frozen=True)
class Options:
    """Where to, and of which seeds."""

    sheet: Path = Path("docs/people.png")
    """People at random, and attributes swept with everything else held."""
    crossing: Path = Path("docs/crossing.png")
    """Somebody crossing before the robot, frame by frame, without and with boxes."""
    video: Path | None = None
    """The same as a video, if asked for."""
    seed: int = 3
    """Of people and of the street."""
    pixels: int = 64
    """Height that people are drawn at."""


def main(options: Options) -> None:
    """Draws both."""
    write_png(options.sheet, sheet(options))
    frames, boxes = crossing(options)
    shown = [framed(frame, some) for frame, some in zip(frames, boxes)]
    at = np.linspace(0, len(frames) - 1, 8).round().astype(int)
    write_png(options.crossing, mosaic(np.stack([shown[i] for i in at]), 4))
    if options.video is not None:
        with VideoWriter(options.video, 10, shown[0].shape[:2]) as video:
            for picture in shown:
                video.write(picture)


def sheet(options: Options) -> np.ndarray:
    """People at random above, a sweep a row below."""
    painter = shipped()
    asked = People(seed=options.seed, pixels=min(options.pixels, max(painter.heights)), scale=2)
    some = pictures(asked, painter, [drawn(asked, i) for i in range(COLUMNS * ROWS)])
    rows = [mosaic(some, COLUMNS)]
    for i, name in enumerate(SWEEPS):
        one = People(**vars(asked) | {"sweep": name, "count": 1, "seed": options.seed + 100 + i})
        cells = pictures(one, painter, swept(one))
        blank = np.full((COLUMNS - len(cells), *cells.shape[1:]), cells[0, 0, 0], np.uint8)
        rows.append(mosaic(np.concatenate([cells, blank]), COLUMNS))
    return np.concatenate(rows)


def crossing(options: Options) -> tuple[list[np.ndarray], list[list[dict]]]:
    """Frames of a street on which people cross, and who is in each."""
    people = [
        RoadUser(Person(age=34, top_colour=(190, 40, 40), hair="long", identity=5), 13.0, -5.0, np.pi / 2, (2.0, 9.0)),
        RoadUser(
            Person(age=9, gender="male", top="t-shirt", bottom="shorts", identity=8), 15.0, 5.5, -np.pi / 2, (2, 9)
        ),
        RoadUser(Person(age=75, gender="male", top="coat", hair="bald", identity=2), 18.0, -4.2, np.pi / 2, None, 0.0),
    ]
    env = RoadUsers(gym.make("gensim/Driving-v0", labels=True), people)
    frame, info = env.reset(seed=options.seed)
    frames, found = [frame], [info["people"]]
    for _ in range(48):
        frame, _, ended, cut, info = env.step(np.array([0.0, 0.15], np.float32))
        frames.append(frame)
        found.append(info["people"])
        if ended or cut:
            break
    env.close()
    return frames, found


def framed(frame: np.ndarray, people: list[dict], scale: int = 4) -> np.ndarray:
    """The frame, larger, with a box around each person."""
    picture = frame.repeat(scale, 0).repeat(scale, 1)
    for one in people:
        a, b, c, d = (round(scale * part) for part in one["box"])
        if one["mask"].any():
            cv2.rectangle(picture, (a - 1, b - 1), (c, d), (255, 60, 60), 1)
    return picture


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
