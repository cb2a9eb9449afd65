"""Perception models of several makes, all asked alike: frames in, boxes out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import cv2
import numpy as np

Model = Callable[[np.ndarray], Sequence[np.ndarray]]
KINDS = ("vehicle", "person", "object")
SUFFIXES = (".pt", ".ts", ".torchscript", ".onnx")


def load(name: str, scale: float = 1.0) -> Model:
    """A model that takes frames uint8 (n, h, w, 3) and returns boxes float (k, 6) of each, in pixels of the frames.

    A box is left, top, right, bottom, score, and the index of its kind: 0 vehicle, 1 person, 2 object.

    Arguments:
        name: MODULE:NAME of a function of such frames that returns (k, 6), or (k, 5) where all are people; a file of
            TorchScript or ONNX, which takes float32 (1, 3, h, w) in 0..1 and returns the same with one frame's boxes,
            (k, 5 or 6) or (1, k, 5 or 6); or "hog", OpenCV's detector of people.
        scale: frames are made so much larger before the model sees them.

    Raises:
        ValueError: if there is no such model, or its scale is not above 0.
    """
    if not scale > 0:
        raise ValueError(f"scale={scale}: give a number above 0")
    model = _found(name)
    return model if scale == 1 else _scaled(model, scale)


def checked(model: Model, frames: np.ndarray) -> list[np.ndarray]:
    """A model's boxes (k, 6) of each frame.

    Raises:
        ValueError: if it raises, or does not return boxes.
    """
    try:
        found = list(model(frames.copy()))
    except Exception as fault:
        raise ValueError(f"the model fails on frames {frames.shape}: {type(fault).__name__}: {fault}") from fault
    if len(found) != len(frames):
        raise ValueError(f"the model returned {len(found)} of {len(frames)} frames: return boxes (k, 6) of each")
    return [_boxes(one) for one in found]


def _boxes(one: Any) -> np.ndarray:
    boxes = np.asarray(one, float)
    boxes = boxes.reshape(0, 6) if boxes.size == 0 else boxes
    if boxes.ndim != 2 or boxes.shape[1] not in (5, 6):
        raise ValueError(f"the model returned boxes {boxes.shape}: left, top, right, bottom, score, kind: (k, 5 or 6)")
    if boxes.shape[1] == 5:
        boxes = np.concatenate([boxes, np.full((len(boxes), 1), KINDS.index("person"))], 1)
    if not np.isfinite(boxes).all() or not np.isin(boxes[:, 5], range(len(KINDS))).all():
        raise ValueError(
            f"the model returned boxes that are not finite, or kinds that are none of 0 to {len(KINDS) - 1}"
        )
    return boxes


def _found(name: str) -> Model:
    path = Path(name)
    if name == "hog":
        return _hog()
    if path.suffix in SUFFIXES:
        if not path.is_file():
            raise ValueError(f"{name} is not there: give a file of TorchScript or ONNX")
        return _onnx(path) if path.suffix == ".onnx" else _script(path)
    if ":" in name:
        module, attribute = name.split(":", 1)
        model = getattr(import_module(module), attribute, None)
        if callable(model):
            return model
    raise ValueError(f"model={name!r}: give MODULE:NAME of a function, a file {', '.join(SUFFIXES)}, or hog")


def _script(path: Path) -> Model:
    import torch

    net = torch.jit.load(str(path), map_location="cpu").eval()  # type: ignore[no-untyped-call]

    def model(frames: np.ndarray) -> list[np.ndarray]:
        with torch.no_grad():
            return [np.asarray(_only(net(torch.from_numpy(x)).numpy())) for x in _tensors(frames)]

    return model


def _onnx(path: Path) -> Model:
    net = cv2.dnn.readNetFromONNX(str(path))

    def model(frames: np.ndarray) -> list[np.ndarray]:
        found = []
        for x in _tensors(frames):
            net.setInput(x)
            found.append(_only(net.forward()))
        return found

    return model


def _tensors(frames: np.ndarray) -> list[np.ndarray]:
    """Frames one by one, float32 (1, 3, h, w) in 0..1."""
    return [np.ascontiguousarray(frame.transpose(2, 0, 1)[None], np.float32) / 255 for frame in frames]


def _only(told: np.ndarray) -> np.ndarray:
    return told[0] if told.ndim == 3 else told


def _hog() -> Model:
    if not hasattr(cv2, "HOGDescriptor"):
        raise ValueError(
            f"opencv-python {cv2.__version__} has no HOG detector: install opencv-python<5, or give a model"
        )
    seer = cv2.HOGDescriptor()
    seer.setSVMDetector(cv2.HOGDescriptor_getDefaultPeopleDetector())  # type: ignore[attr-defined]

    def model(frames: np.ndarray) -> list[np.ndarray]:
        found = []
        for frame in frames:
            boxes, scores = seer.detectMultiScale(np.ascontiguousarray(frame[..., ::-1]), winStride=(8, 8))
            corners = [(x, y, x + w, y + h, s) for (x, y, w, h), s in zip(boxes, np.ravel(scores))]
            found.append(np.array(corners, float).reshape(-1, 5))
        return found

    return model


def _scaled(model: Model, scale: float) -> Model:
    def larger(frames: np.ndarray) -> list[np.ndarray]:
        big = np.stack([cv2.resize(one, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC) for one in frames])
        found = [np.array(one, float) for one in model(big)]
        for one in found:
            if one.size:
                one[:, :4] /= scale
        return found

    return larger
