"""What the labels of driving frames mean, to MetaDrive's own environment and to gensim's."""

from __future__ import annotations

import numpy as np

CLASSES = ("sky", "road", "line", "vehicle", "person", "object", "sidewalk", "ground")
SKY, ROAD, LINE, VEHICLE, PERSON, OBJECT, WALK, GROUND = range(8)
COLOURS = np.array(
    [
        (70, 130, 180),
        (128, 64, 128),
        (255, 255, 255),
        (0, 0, 142),
        (220, 20, 60),
        (250, 170, 30),
        (244, 35, 232),
        (107, 142, 35),
    ],
    np.uint8,
)  # (8, 3), those of Cityscapes where it has the class
NEAR, FAR, STEPS = 0.5, 500.0, 1023  # metres; distances are steps 0..STEPS, even on a logarithmic scale
EGO = ("x", "y", "heading", "speed", "yaw_rate", "steer", "lateral", "completed")
ACTOR = ("instance", "class", "x", "y", "heading", "speed", "length", "width", "height")
KINDS = ("none", "vehicle", "object", "person", "off_road", "arrived")


GROUPS = {
    "road": (ROAD,),
    "lane marking": (LINE,),
    "vehicle": (VEHICLE,),
    "person": (PERSON,),
    "sky": (SKY,),
    "other": (OBJECT, WALK, GROUND),
}  # what figures of labels are told for


def metres(share: np.ndarray) -> np.ndarray:
    """Distances along the view in metres, of shares 0..1 of the steps; 1 is `FAR` and all beyond."""
    return NEAR * (FAR / NEAR) ** np.asarray(share, np.float64)


def grouped(classes: np.ndarray) -> np.ndarray:
    """Which of `GROUPS` each pixel is of, uint8, of its class."""
    table = np.zeros(len(CLASSES), np.uint8)
    for i, of in enumerate(GROUPS.values()):
        table[list(of)] = i
    return table[classes]
