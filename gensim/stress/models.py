"""Perception models of several makes, all asked alike: frames in, boxes out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from gensim.core.files import line

Model = Callable[[np.ndarray], Sequence[np.ndarray]]
KINDS = ("vehicle", "person", "object")
WINDOW = (128, 64)  # rows and columns in which OpenCV's detector of people looks for one
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
        raise ValueError(f"the model fails on frames {frames.shape}: {_said(fault)}") from fault
    if len(found) != len(frames):
        raise ValueError(f"the model returned {len(found)} of {len(frames)} frames: return boxes (k, 6) of each")
    return [_boxes(one) for one in found]


def _said(fault: Exception) -> str:
    return f"{type(fault).__name__}: {line(fault)}"


def _boxes(one: Any) -> np.ndarray:
    try:
        boxes = np.asarray(one, float)
    except (TypeError, ValueError) as fault:
        raise ValueError(
            f"the model returned {type(one).__name__}, which is no array of numbers (k, 5 or 6)"
        ) from fault
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
        return _read(path)
    if ":" in name:
        module, attribute = name.split(":", 1)
        model = getattr(_imported(module), attribute, None)
        if callable(model):
            return model
    raise ValueError(f"model={name!r}: give MODULE:NAME of a function, a file {', '.join(SUFFIXES)}, or hog")


def _imported(module: str) -> Any:
    try:
        return import_module(module)
    except Exception as fault:
        raise ValueError(f"{module} cannot be imported: {_said(fault)}; give MODULE:NAME of a function") from fault


def _read(path: Path) -> Model:
    make, kind = (_onnx, "OpenCV reads no ONNX") if path.suffix == ".onnx" else (_script, "torch reads no TorchScript")
    try:
        return make(path)
    except Exception as fault:
        raise ValueError(f"{kind} in {path}: {_said(fault)}; export the model anew") from fault


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
    """OpenCV's histograms of gradients.

    Reference: Histograms of Oriented Gradients for Human Detection (Dalal and Triggs, 2005), doi:10.1109/CVPR.2005.177.
    """
    if not hasattr(cv2, "HOGDescriptor"):
        raise ValueError(
            f"opencv-python {cv2.__version__} has no HOG detector of people: pip install 'opencv-python<5', or give "
            "MODULE:NAME of a function, or a file of TorchScript or ONNX"
        )
    seer = cv2.HOGDescriptor()
    seer.setSVMDetector(cv2.HOGDescriptor_getDefaultPeopleDetector())  # type: ignore[attr-defined]

    def model(frames: np.ndarray) -> list[np.ndarray]:
        if frames.shape[1] < WINDOW[0] or frames.shape[2] < WINDOW[1]:  # OpenCV would end the process
            raise ValueError(f"HOG looks at windows of {WINDOW} pixels: make frames larger, by scale=4 or --scale 4")
        return [_framed(*seer.detectMultiScale(frame[..., ::-1].copy(), winStride=(8, 8))) for frame in frames]

    return model


def _framed(boxes: Any, scores: Any) -> np.ndarray:
    """HOG's boxes (k, 5), shrunk as OpenCV's own example does: its windows have a margin around people."""
    x, y, w, h = np.array(boxes, float).reshape(-1, 4).T
    return np.stack([x + 0.1 * w, y + 0.07 * h, x + 0.9 * w, y + 0.87 * h, np.ravel(scores)], -1)


def _scaled(model: Model, scale: float) -> Model:
    def larger(frames: np.ndarray) -> list[np.ndarray]:
        big = np.stack([cv2.resize(one, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC) for one in frames])
        found = [np.array(one, float) for one in model(big)]
        for one in found:
            if one.size:
                one[:, :4] /= scale
        return found

    return larger
