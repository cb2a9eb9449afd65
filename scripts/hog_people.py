#!/usr/bin/env python
"""How often OpenCV's detector of people fires: called by scripts/judge_people under a Python with opencv-python < 5.

Each picture of 128 by 64 pixels is laid over the middle of a street of 160 by 96, and counts if the detector finds
somebody within 12 pixels of where they are.
"""

import json
import sys

import cv2
import numpy as np

SIZE, WINDOW = (96, 160), (64, 128)  # columns and rows of a street, and of who is looked for
NEAR = 12  # pixels


def main(path: str) -> None:
    """Prints the shares as JSON."""
    detector = cv2.HOGDescriptor()
    detector.setSVMDetector(cv2.HOGDescriptor_getDefaultPeopleDetector())
    arrays = np.load(path)
    street = arrays["street"]
    found = {name: share(detector, street, arrays[name]) for name in ("renders", "gan", "small")}
    found["nobody"] = share(detector, street, np.zeros((len(street), 2, 1, 4), np.uint8))
    print(json.dumps(found))


def share(detector: cv2.HOGDescriptor, street: np.ndarray, people: np.ndarray) -> float:
    """Of people uint8 (n, h, w, 4), colours times coverage and coverage, before streets uint8 (n, h', w', 3)."""
    return float(np.mean([fires(detector, ground, one) for ground, one in zip(street, people)]))


def fires(detector: cv2.HOGDescriptor, ground: np.ndarray, person: np.ndarray) -> bool:
    """Whether somebody is found in the middle."""
    frame = cv2.resize(ground, SIZE).astype(np.float32)
    x, y = (SIZE[0] - WINDOW[0]) // 2, (SIZE[1] - WINDOW[1]) // 2
    sprite = cv2.resize(person, WINDOW, interpolation=cv2.INTER_LINEAR).astype(np.float32)
    window = frame[y : y + WINDOW[1], x : x + WINDOW[0]]
    window[:] = window * (1 - sprite[..., 3:] / 255) + sprite[..., :3]
    places, _ = detector.detect(frame.round().astype(np.uint8)[..., ::-1].copy(), winStride=(4, 4))
    return any(abs(at[0] - x) <= NEAR and abs(at[1] - y) <= NEAR for at in places)


if __name__ == "__main__":
    main(sys.argv[1])
