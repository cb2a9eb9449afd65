"""Mutated files of worlds and agents: damage by chance, and attacks by someone who rewrites the hashes too."""

from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
import struct
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

HUGE = 1 << 40
CARDS = {"world.safetensors": "world.json", "starts.npz": "world.json", "policy.safetensors": "agent.json"}
Rng = np.random.Generator


@dataclass(frozen=True)
class Evil:
    """Unpickled, it makes a file."""

    canary: str

    def __reduce__(self) -> Any:
        return (os.mkdir, (self.canary,))


@dataclass(frozen=True)
class Mutant:
    """A change of one file.

    Arguments:
        name: what is changed.
        apply: changes a file, given chance, the file's path and the canary that run code would make.
        harmless: whether what is read may stay equal; otherwise it must be refused.
    """

    name: str
    apply: Callable[[Rng, Path, str], None]
    harmless: bool = False


def for_file(name: str) -> list[Mutant]:
    """All mutants of a file of this name."""
    if name == "gap.json":  # a report: it may be absent, and what it says is not checked
        return [*_damages(), *_texts()]
    if name.endswith(".json"):
        return [*_damages(), *_places(), *_chances(harmless=True), *_texts(), *_cards(name)]
    return [
        *_damages(),
        *_places(),
        *_chances(name == "heldout.npz"),
        *(_tensors() if name.endswith(".safetensors") else _arrays(name)),
    ]


# ---------------------------------------------------------------------- any file


def _damages() -> list[Mutant]:
    """Damage that no file survives."""
    changes: dict[str, Any] = {
        "empty": lambda rng, data: b"",
        "noise": lambda rng, data: rng.bytes(len(data)),
        "zeros": lambda rng, data: bytes(len(data)),
        "truncated": lambda rng, data: data[: rng.integers(len(data) - 2)],
    }
    mutants = [Mutant(name, _bytes(change)) for name, change in changes.items()]
    mutants += [Mutant("pickle", lambda rng, path, canary: _put(path, pickle.dumps(Evil(canary))))]
    return [*mutants, Mutant("torch pickle", _torch_pickle), Mutant("a tebibyte of nothing", _sparse)]


def _places() -> list[Mutant]:
    """What stands where the file should."""
    absent = Mutant("absent", lambda rng, path, canary: path.unlink())
    links = [Mutant("link out", _link_out), Mutant("link to itself", _link_self)]
    return [absent, Mutant("folder", _folder), Mutant("pipe", _pipe), *links]


def _chances(harmless: bool) -> list[Mutant]:
    """Damage by chance, which may hit what nobody reads where no hash stands over all bytes."""
    flips = [Mutant(f"{n} bits flipped", _bytes(_flip(n)), harmless) for n in (1, 2, 8, 64)]
    return [*flips, Mutant("bytes lost", _bytes(_lose), harmless)]


def _bytes(change: Callable[[Rng, bytes], bytes]) -> Callable[[Rng, Path, str], None]:
    return lambda rng, path, canary: _put(path, change(rng, path.read_bytes()))


def _put(path: Path, data: bytes) -> None:
    """Writes a new file, so that what is linked to the old one stays."""
    path.unlink()
    path.write_bytes(data)


def _flip(n: int) -> Callable[[Rng, bytes], bytes]:
    def change(rng: Rng, data: bytes) -> bytes:
        bits = np.unpackbits(np.frombuffer(data, np.uint8))
        bits[rng.choice(len(bits), n, replace=False)] ^= 1
        return np.packbits(bits).tobytes()

    return change


def _lose(rng: Rng, data: bytes) -> bytes:
    at = int(rng.integers(len(data)))
    return data[:at] + data[at + int(rng.integers(1, 9)) :]


def _torch_pickle(rng: Rng, path: Path, canary: str) -> None:
    import torch

    path.unlink()
    torch.save({"weights": Evil(canary)}, path)


def _folder(rng: Rng, path: Path, canary: str) -> None:
    path.unlink()
    path.mkdir()


def _pipe(rng: Rng, path: Path, canary: str) -> None:
    path.unlink()
    os.mkfifo(path)


def _sparse(rng: Rng, path: Path, canary: str) -> None:
    _put(path, path.read_bytes())
    os.truncate(path, HUGE)


def _link_out(rng: Rng, path: Path, canary: str) -> None:
    """A link to an equal file elsewhere."""
    outside = path.parent.parent / f"outside-{path.name}"
    outside.unlink(missing_ok=True)
    path.rename(outside)
    path.symlink_to(f"../{outside.name}")


def _link_self(rng: Rng, path: Path, canary: str) -> None:
    path.unlink()
    path.symlink_to(path.name)


# ---------------------------------------------------------------------- JSON


def _texts() -> list[Mutant]:
    """Texts that are no proper JSON object."""
    texts = {
        "null": b"null",
        "list": b"[]",
        "nested deeply": b'{"a":' + b"[" * 200_000 + b"]" * 200_000 + b"}",
        "nested objects": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
        "a number of 100,000 digits": b'{"format":' + b"9" * 100_000 + b"}",
        "not UTF-8": b'{"format": 1, "\xff\xfe": 1}',
    }
    mutants = [Mutant(name, _bytes(lambda rng, data, text=text: text)) for name, text in texts.items()]
    within = {"NaN": b'"x": NaN', "infinity": b'"x": 1e999', "a name twice": b'"format": 1, "format": 1'}
    for name, text in within.items():
        mutants += [Mutant(name, _bytes(lambda rng, data, text=text: data.replace(b"{", b"{" + text + b",", 1)))]
    mutants += [Mutant("UTF-16", _bytes(lambda rng, data: data.decode().encode("utf-16")))]
    mutants += [Mutant("more after the end", _bytes(lambda rng, data: data + b"{}"))]
    return [*mutants, Mutant("whitespace", _bytes(lambda rng, data: b" \n" + data + b"\n\t"), harmless=True)]


WRONG: list[Any] = [-1, 0, 1.5, 10**9, 10**18, 10**30, "512", None, [], {}, True, [1] * 5, "../../etc/passwd"]
PATHS = ["../../../../etc/passwd", "/etc/passwd", "../world.safetensors", "policy\nsafetensors", "a\0b"]


def _cards(name: str) -> list[Mutant]:
    """Settings that cannot be, in a card that is otherwise in order."""
    if name == "world.json":
        net = ["size", "actions", "groups", "classes", "hidden", "head"]
        mutants = [_set(["net", key], value) for key in net for value in WRONG]
        mutants += [_set(["net", "widths"], value) for value in (*WRONG, [10**9] * 4, [0] * 4, [16, 48, 64, "160"])]
        mutants += [_set(["net", key], value) for key in ("unimix", "dropout") for value in (-0.5, 1, 2, "x", None, [])]
        mutants += [_set(["net", "evil\nname"], 1), _set(["net"], []), _set(["net"], "net"), _set(["net"], None)]
        mutants += [_set(["files", path], "0" * 64) for path in PATHS] + [_set(["files"], x) for x in (None, [], {})]
        files = [file for file, card in CARDS.items() if card == name]
        mutants += [_set(["files", file], x) for file in files for x in ("0" * 64, 7, None)]
        mutants += [_set(["spec"], x) for x in (None, [], "x", {})] + [_set(["spec", "size"], x) for x in WRONG]
        mutants += [_set(["spec", "action"], x) for x in (*WRONG, {"type": "box", "dim": 10**9}, {"type": [], "n": 1})]
        mutants += [_set(["spec", "fps"], x) for x in (0, -1, "25", [])]
        return [*mutants, *(_set(["format"], x) for x in (2, "1", None, []))]
    if name == "agent.json":
        mutants = [_set(["shape"], x) for x in (*WRONG, [10**9], [10**18], [10**6, 10**6, 3], ["1"])]
        mutants += [_set(["net"], x) for x in (*WRONG, [10**9], [10**9, 10**9], [1] * 10**5, ["a"])]
        mutants += [_set(["action"], x) for x in (*WRONG, {"type": "box", "dim": 10**9}, {"type": "discrete", "n": 0})]
        mutants += [_set([key], x) for key in ("stack", "repeat", "skip") for x in (-1, 0, 1.5, "2", [], {})]
        mutants += [_set(["observation"], x) for x in ("frames", "smells", 1, None, [])]
        mutants += [_set(["deterministic"], x) for x in (2, "x", None)]
        mutants += [_set(["log_std"], x) for x in ("x", None, [])]
        mutants += [_set(["world"], x) for x in (7, "x", [], {"hash": 7}, {"hash": "0" * 64, "folder": PATHS[0]})]
        mutants += [_set(["world", "folder"], x, harmless=True) for x in (7, [], *PATHS)]  # unread where there is an id
        mutants += [_set(["evil\nname"], 1), _set(["learning"], []), _set(["weights"], "0" * 64), _set(["weights"], [])]
        return [*mutants, *(_set(["format"], x) for x in (2, "1", None, []))]
    return []


def _set(keys: list[str], value: Any, harmless: bool = False) -> Mutant:
    def change(rng: Rng, data: bytes) -> bytes:
        card = json.loads(data)
        place = card
        for key in keys[:-1]:
            place = place[key] if isinstance(place.get(key), dict) else place.setdefault(key, {})
        place[keys[-1]] = {"not": value} if place.get(keys[-1]) == value else value
        return json.dumps(card).encode()

    shown = json.dumps(value)
    return Mutant(f"{'.'.join(keys)} = {shown if len(shown) < 40 else shown[:40] + '...'}", _bytes(change), harmless)


# ---------------------------------------------------------------------- tensors


def rehash(path: Path) -> None:
    """Brings the card's hash of a file up to date, as an attacker would."""
    card = path.parent / CARDS.get(path.name, "")
    if card.is_file() and path.is_file():
        told = json.loads(card.read_bytes())
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        if card.name == "agent.json":
            told["weights"] = digest
        else:
            told["files"][path.name] = digest
        _put(card, json.dumps(told).encode())


def _tensors() -> list[Mutant]:
    """Files of tensors that fit their hash, and not their network."""
    import torch

    def some(rng: Rng, tensors: dict[str, Any]) -> str:
        return str(rng.choice(sorted(tensors)))

    def spoil(value: float) -> Any:
        def change(rng: Rng, tensors: dict[str, Any]) -> None:
            name = some(rng, {k: v for k, v in tensors.items() if not k.startswith("trust.") or value != value})
            tensors[name] = tensors[name].clone()
            tensors[name].view(-1)[int(rng.integers(tensors[name].numel()))] = value

        return change

    def put(change: Callable[[Any], Any]) -> Any:
        def change_one(rng: Rng, tensors: dict[str, Any]) -> None:
            name = some(rng, tensors)
            tensors[name] = change(tensors[name])

        return change_one

    changes = {
        "NaN in a weight": spoil(float("nan")),
        "infinity in a weight": spoil(float("inf")),
        "a row more": put(lambda x: torch.cat([x, x[:1]])),
        "a dimension more": put(lambda x: x[None]),
        "nothing left": put(lambda x: x[:0]),
        "whole numbers": put(lambda x: x.to(torch.int32)),
        "complex numbers": put(lambda x: x.to(torch.complex64)),
        "booleans": put(lambda x: x > 0),
        "one missing": lambda rng, tensors: tensors.pop(some(rng, tensors)),
        "one renamed": lambda rng, tensors: tensors.update(evil=tensors.pop(some(rng, tensors))),
        "one too many": lambda rng, tensors: tensors.update({"../../evil": torch.zeros(3)}),
        "none": lambda rng, tensors: tensors.clear(),
    }
    return [Mutant(f"{name}, rehashed", _with_tensors(change)) for name, change in changes.items()] + _headers()


def _with_tensors(change: Callable[[Rng, dict[str, Any]], Any]) -> Callable[[Rng, Path, str], None]:
    def apply(rng: Rng, path: Path, canary: str) -> None:
        from safetensors.torch import load, save

        tensors = load(path.read_bytes())
        change(rng, tensors)
        _put(path, save({name: tensor.contiguous() for name, tensor in tensors.items()}))
        rehash(path)

    return apply


def _headers() -> list[Mutant]:
    """Headers of safetensors files that lie."""

    def entry(key: str, value: Any) -> Callable[[Rng, dict[str, Any]], Any]:
        def change(rng: Rng, header: dict[str, Any]) -> None:
            header[str(rng.choice(sorted(set(header) - {"__metadata__"})))][key] = value

        return change

    def shared(rng: Rng, header: dict[str, Any]) -> None:
        one, other = rng.choice(sorted(set(header) - {"__metadata__"}), 2, replace=False)
        header[str(one)]["data_offsets"] = header[str(other)]["data_offsets"]

    lies = {
        "shape 2^40 x 2^40": entry("shape", [1 << 40, 1 << 40]),
        "shape negative": entry("shape", [-1]),
        "shape of texts": entry("shape", ["a"]),
        "offsets beyond the end": entry("data_offsets", [0, 1 << 50]),
        "offsets backwards": entry("data_offsets", [8, 0]),
        "offsets shared": shared,
        "unknown dtype": entry("dtype", "EVIL"),
        "metadata of numbers": lambda rng, header: header.update(__metadata__={"format": 1}),
    }
    mutants = [Mutant(f"{name}, rehashed", _with_header(change)) for name, change in lies.items()]
    for length in (0, 2, 1 << 20, 1 << 40, (1 << 64) - 1):
        mutants.append(Mutant(f"header of {length} bytes, rehashed", _resized(length)))
    deep = b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    for name, text in {"nested": deep, "no UTF-8": b'{"\xff":1}', "no object": b"[1]", "empty": b"{}"}.items():
        mutants.append(Mutant(f"header {name}, rehashed", _headed(text)))
    return mutants


def _split(data: bytes) -> tuple[bytes, bytes]:
    length = struct.unpack("<Q", data[:8])[0]
    return data[8 : 8 + length], data[8 + length :]


def _with_header(change: Callable[[Rng, dict[str, Any]], Any]) -> Callable[[Rng, Path, str], None]:
    def apply(rng: Rng, path: Path, canary: str) -> None:
        text, body = _split(path.read_bytes())
        header = json.loads(text)
        change(rng, header)
        text = json.dumps(header).encode()
        _put(path, struct.pack("<Q", len(text)) + text + body)
        rehash(path)

    return apply


def _resized(length: int) -> Callable[[Rng, Path, str], None]:
    def apply(rng: Rng, path: Path, canary: str) -> None:
        _put(path, struct.pack("<Q", length) + path.read_bytes()[8:])
        rehash(path)

    return apply


def _headed(text: bytes) -> Callable[[Rng, Path, str], None]:
    def apply(rng: Rng, path: Path, canary: str) -> None:
        _put(path, struct.pack("<Q", len(text)) + text + _split(path.read_bytes())[1])
        rehash(path)

    return apply


# ---------------------------------------------------------------------- arrays


def _arrays(name: str) -> list[Mutant]:
    """Files of arrays that fit their hash, and not their world."""

    def objects(rng: Rng, arrays: dict[str, Any], canary: str) -> None:
        key = str(rng.choice(sorted(arrays)))
        arrays[key] = np.array([Evil(canary)], object)

    def put(change: Callable[[np.ndarray], Any], key: str | None = None) -> Any:
        def change_one(rng: Rng, arrays: dict[str, Any], canary: str) -> None:
            there = [name for name in arrays if name not in ("meta", "episode") and arrays[name].size]
            chosen = key or str(rng.choice(sorted(there)))
            arrays[chosen] = change(arrays[chosen])

        return change_one

    def missing(rng: Rng, arrays: dict[str, Any], canary: str) -> None:
        arrays.pop(str(rng.choice(sorted(arrays))))

    changes = {
        "objects": objects,
        "a row more": put(lambda x: np.concatenate([x, x[:1]])),
        "a dimension more": put(lambda x: x[None]),
        "a single number": put(lambda x: x.ravel()[0]),
        "nothing left": put(lambda x: x[:0]),
        "texts": put(lambda x: x.astype("U8")),
        "complex numbers": put(lambda x: x.astype(complex)),
        "the other byte order": put(lambda x: x.astype(x.dtype.newbyteorder()) if x.itemsize > 1 else x.astype(">i8")),
        "records": put(lambda x: np.zeros(3, [("a", "i4"), ("b", "f8")])),
        "one missing": missing,
        "one too many": lambda rng, arrays, canary: arrays.update({"../../evil": np.zeros(3)}),
    }
    own = {
        "starts.npz": {
            "latents out of range": put(lambda x: x + np.uint8(200), "real"),
            "NaN in a memory": put(lambda x: x * np.float16("nan"), "mid_h"),
            "NaN in an action": put(lambda x: x * np.float32("nan"), "mid_act"),
            "negative lengths": put(lambda x: -1 - x, "mid_length"),
            "lengths beyond the end": put(lambda x: x + 10**9, "mid_length"),
        },
        "heldout.npz": {
            "NaN in a reward": put(lambda x: x * np.float32("nan"), "rew"),
            "actions that are none": put(lambda x: x + np.array(99, x.dtype), "act"),
            "negative starts": put(lambda x: -1 - x, "start"),
            "starts beyond the end": put(lambda x: x + 10**9, "start"),
            "offsets backwards": put(lambda x: x[::-1].copy(), "offsets"),
            "offsets beyond the end": put(lambda x: x + np.int64(10**12), "offsets"),
            "pictures of 2^31 pixels": put(_large_picture, "png"),
            "pictures that are none": put(lambda x: np.zeros_like(x), "png"),
            "metadata that nest": put(lambda x: np.frombuffer(b"[" * 100_000, np.uint8), "meta"),
            "metadata that are none": put(lambda x: np.frombuffer(b"7", np.uint8), "meta"),
        },
    }[name]
    mutants = [Mutant(f"{what}, rehashed", _with_arrays(change)) for what, change in {**changes, **own}.items()]
    return mutants + [Mutant(f"{what}, rehashed", _with_zip(change)) for what, change in _ZIPS.items()]


def _large_picture(png: np.ndarray) -> np.ndarray:
    """The first frame says that it is 46,341 pixels wide and high."""
    png = png.copy()
    png[16:24] = np.frombuffer(struct.pack(">II", 46_341, 46_341), np.uint8)
    return png


def _with_arrays(change: Callable[[Rng, dict[str, Any], str], Any]) -> Callable[[Rng, Path, str], None]:
    def apply(rng: Rng, path: Path, canary: str) -> None:
        with np.load(path) as file:
            arrays = {key: file[key] for key in file.files}
        change(rng, arrays, canary)
        out = io.BytesIO()
        np.savez_compressed(out, **arrays)
        _put(path, out.getvalue())
        rehash(path)

    return apply


def _with_zip(change: Callable[[dict[str, bytes]], bytes]) -> Callable[[Rng, Path, str], None]:
    def apply(rng: Rng, path: Path, canary: str) -> None:
        with zipfile.ZipFile(path) as archive:
            members = {info.filename: archive.read(info) for info in archive.infolist()}
        _put(path, change(members))
        rehash(path)

    return apply


def _zip(members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED, twice: bool = False) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, data in [*members.items(), *(list(members.items())[:1] if twice else [])]:
            archive.writestr(name, data)
    return out.getvalue()


def _lying_header(members: dict[str, bytes]) -> bytes:
    """The first array says that it holds 10^13 numbers."""
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(head, {"descr": "|u1", "fortran_order": False, "shape": (10**13,)})
    return _zip({**members, next(iter(members)): head.getvalue() + b"0"})


def _bomb(members: dict[str, bytes]) -> bytes:
    """The first array unpacks to 640 MB of zeros, and is so described."""
    name, *others = members
    out = io.BytesIO()
    out.write(_zeros(name))
    with zipfile.ZipFile(out, "a") as archive:
        for other in others:
            archive.writestr(other, members[other])
    return out.getvalue()


@lru_cache
def _zeros(name: str, size: int = 640_000_000) -> bytes:
    head, out = io.BytesIO(), io.BytesIO()
    np.lib.format.write_array_header_1_0(head, {"descr": "|u1", "fortran_order": False, "shape": (size,)})
    with (
        zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open(name, "w") as file,
    ):
        file.write(head.getvalue())
        for _ in range(64):
            file.write(bytes(size // 64))
    return out.getvalue()


def _understated(members: dict[str, bytes]) -> bytes:
    """The directory says of each member that it is one byte long."""
    data = bytearray(_zip(members))
    at = data.find(b"PK\x01\x02")
    while at >= 0:
        data[at + 24 : at + 28] = struct.pack("<I", 1)
        at = data.find(b"PK\x01\x02", at + 4)
    return bytes(data)


def _locked(members: dict[str, bytes]) -> bytes:
    """Every member says that it is encrypted."""
    data = bytearray(_zip(members))
    for mark, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = data.find(mark)
        while at >= 0:
            data[at + flags] |= 1
            at = data.find(mark, at + 4)
    return bytes(data)


_ZIPS = {
    "a header of 10^13 numbers": _lying_header,
    "a bomb": _bomb,
    "sizes understated": _understated,
    "encrypted members": _locked,
    "a member twice": lambda members: _zip(members, twice=True),
    "packed by bzip2": lambda members: _zip(members, zipfile.ZIP_BZIP2),
    "packed by lzma": lambda members: _zip(members, zipfile.ZIP_LZMA),
    "members that are no arrays": lambda members: _zip(dict.fromkeys(members, b"no array")),
    "raw deflate": lambda members: zlib.compress(b"".join(members.values())),
}
