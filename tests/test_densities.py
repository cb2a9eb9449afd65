"""Fitting densities: a kill changes nothing, what is refused, and frames that are judged alike in any company."""

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from slider import slides

from gensim.core.files import load_tensors, read_json, save_tensors, sha256, write_json
from gensim.episodes import Dataset
from gensim.episodes.sample import is_heldout
from gensim.models.bits import bits_per_dim
from gensim.ood.codecs import CODECS, codec_bits
from gensim.ood.densities import (
    CHECKPOINT,
    DensityFitConfig,
    fit_density,
    load_density,
    log_probs,
    new_density,
    save_density,
    spec_of,
)  # fmt: skip
from gensim.ood.density_frames import Pool

SIZES = {
    "flow": {"size": 16, "levels": 2, "steps": 1, "width": 8},
    "autoregressive": {"size": 16, "width": 8, "blocks": 2, "mixtures": 2},
    "bound": {"size": 16, "width": 4, "halvings": 2, "latent": 4, "mixtures": 2},
}
HERE = str(Path(__file__).parent)
BRIEF = DensityFitConfig(steps=6, batch=3, save_every=1)
each_family = pytest.mark.parametrize("family", SIZES)


def frames(n=12, size=16, seed=0):
    """Frames of two shades with an edge somewhere."""
    rng = np.random.default_rng(seed)
    shade = rng.integers(40, 200, (n, 2, 1, 1, 3))
    edge = rng.integers(2, size - 2, (n, 1, 1, 1))
    flat = np.where(np.arange(size)[:, None] < edge, shade[:, 0], shade[:, 1])
    return np.broadcast_to(flat, (n, size, size, 3)).astype(np.uint8)


RUN = """
import sys
sys.path.insert(0, sys.argv[2])
from test_densities import BRIEF, SIZES, fit_density, frames, new_density
fit_density(new_density("autoregressive", **SIZES["autoregressive"]), frames(), BRIEF, sys.argv[1], quiet=True)
"""


def test_a_killed_fit_goes_on_bit_for_bit(tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    argv = [sys.executable, "-c", RUN]
    process = subprocess.Popen([*argv, killed, HERE])
    while not (killed / CHECKPOINT).exists():
        time.sleep(0.002)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert int(load_tensors(killed / CHECKPOINT)[1]["step"]) >= 1
    for out in (whole, killed):
        fit_density(new_density("autoregressive", **SIZES["autoregressive"]), frames(), BRIEF, out, quiet=True)
    for name in ("density.json", "density.safetensors", CHECKPOINT):
        assert sha256(whole / name) == sha256(killed / name), name


@each_family
def test_a_fit_stopped_at_any_step_goes_on_bit_for_bit(family, tmp_path, monkeypatch):
    """The same without a second process, after each of the steps."""
    fit_density(new_density(family, **SIZES[family]), frames(), BRIEF, tmp_path / "whole", quiet=True)
    for stop in range(1, BRIEF.steps):
        out = tmp_path / str(stop)
        _stopped(monkeypatch, family, out, stop)
        fit_density(new_density(family, seed=9, **SIZES[family]), frames(), BRIEF, out, quiet=True)
        assert sha256(out / "density.safetensors") == sha256(tmp_path / "whole/density.safetensors")


def _stopped(monkeypatch, family, out, stop):
    from gensim.ood import densities

    save = densities.DensityFit.save

    def save_and_stop(run):
        save(run)
        if run.step == stop:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(densities.DensityFit, "save", save_and_stop)
        fit_density(new_density(family, **SIZES[family]), frames(), BRIEF, out, quiet=True)


@each_family
def test_what_was_fitted_comes_back_and_judges_each_frame_alike(family, tmp_path):
    before = torch.get_rng_state()
    fitted = fit_density(new_density(family, **SIZES[family]), frames(), BRIEF, tmp_path, quiet=True, spec={"of": "it"})
    again = load_density(tmp_path)
    assert torch.equal(torch.get_rng_state(), before)
    nats = log_probs(again, frames())
    assert nats.shape == (12,) and np.isfinite(nats).all() and (nats < 0).all()
    np.testing.assert_array_equal(nats, log_probs(fitted, frames()))
    np.testing.assert_array_equal(nats[5:8], log_probs(again, frames()[5:8]))  # in other company, to the bit
    np.testing.assert_array_equal(nats[::-1], log_probs(again, frames()[::-1]))
    assert log_probs(again, frames()[:0]).shape == (0,)
    drawn = [model.sample(2, torch.Generator().manual_seed(0)) for model in (fitted, again)]
    assert torch.equal(*drawn) and drawn[0].shape == (2, 16, 16, 3) and drawn[0].dtype == torch.uint8
    assert spec_of(tmp_path)["of"] == "it" and spec_of(tmp_path)["frames"] == 12
    assert again.config == fitted.config and asdict(again.config)["size"] == 16


THREADS = """
import sys
import torch
sys.path.insert(0, sys.argv[2])
from test_densities import SIZES, frames, load_density, log_probs
for family in SIZES:
    for n in (1, 2):
        torch.set_num_threads(n)
        print(log_probs(load_density(f"{sys.argv[1]}/{family}"), frames(20)).tobytes().hex())
"""


def test_one_thread_or_two_in_any_process_say_the_same(tmp_path):
    for family in SIZES:
        save_density(new_density(family, **SIZES[family]), tmp_path / family, {})
    argv = [sys.executable, "-c", THREADS, tmp_path, HERE]
    said = subprocess.run(argv, check=True, capture_output=True, text=True).stdout.split()
    here = [log_probs(load_density(tmp_path / family), frames(20)).tobytes().hex() for family in SIZES]
    assert said == [one for one in here for _ in range(2)]


@each_family
def test_a_fit_lowers_the_bits_of_frames_it_did_not_see(family, tmp_path):
    config = DensityFitConfig(steps=40, batch=8, lr=5e-3, warmup=5, average=0.9)
    model = new_density(family, **SIZES[family])
    if family == "flow":
        model.prepare(torch.from_numpy(frames()), torch.Generator().manual_seed(0))
    bits = lambda: float(bits_per_dim(torch.from_numpy(log_probs(model, frames(16, seed=5))), frames(1)).mean())  # noqa: E731
    before = bits()
    fit_density(model, frames(200, seed=1), config, tmp_path, quiet=True)
    assert bits() < before - min(0.3, 0.1 * before)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return slides(tmp_path_factory.mktemp("slider"), 40)


def test_a_data_set_is_learned_from_without_what_is_held_out(data):
    dataset = Dataset(data)
    train, heldout = (Pool(data, part, 0.3) for part in ("train", "heldout"))
    names = [header for header in dataset.episodes if is_heldout(header, 0.3)]
    assert len(heldout.episodes) == len(names) > 3 and len(train.episodes) == 40 - len(names)
    assert len(train) + len(heldout) == sum(header.length + 1 for header in dataset.episodes)
    assert torch.equal(train.batch(3, 5, 8), train.batch(3, 5, 8))
    assert not torch.equal(train.batch(3, 5, 8), train.batch(3, 6, 8))
    shown, episode = heldout.spread(30)
    assert len(shown) == len(episode) <= 30 + len(names) and set(episode) == set(range(len(names)))
    np.testing.assert_array_equal(shown[0], heldout.episodes[0].frame(0))


def test_frames_are_drawn_alike_often():
    short, long = (np.full((n, 2, 2, 3), n, np.uint8) for n in (1, 9))
    pool = Pool([short, long])
    drawn = torch.cat([pool.batch(0, step, 50) for step in range(40)])[:, 0, 0, 0]
    assert (drawn == 1).float().mean().item() == pytest.approx(0.1, abs=0.03)


def test_a_data_set_is_fitted(data, tmp_path):
    size = Dataset(data).spec["size"]
    model = new_density("autoregressive", size=size, width=8, blocks=2, mixtures=2)
    fit_density(model, data, DensityFitConfig(steps=3, batch=2), tmp_path, quiet=True)
    assert spec_of(tmp_path)["frames"] == len(Pool(data))


def test_what_cannot_be_fitted_is_refused(tmp_path):
    model = new_density("bound", **SIZES["bound"])
    with pytest.raises(ValueError, match="no frames to train"):
        fit_density(model, frames()[:0], BRIEF, tmp_path, quiet=True)
    with pytest.raises(ValueError, match=r"uint8 .* not float64"):
        fit_density(model, frames() / 255, BRIEF, tmp_path, quiet=True)
    with pytest.raises(ValueError, match=r"\(n, 16, 16, 3\).*resize"):
        fit_density(model, frames(size=8), BRIEF, tmp_path, quiet=True)
    with pytest.raises(FileNotFoundError, match=r"data\.json"):
        fit_density(model, tmp_path / "nothing", BRIEF, tmp_path, quiet=True)
    with pytest.raises(ValueError, match="is no density"):
        fit_density(torch.nn.Linear(1, 1), frames(), BRIEF, tmp_path, quiet=True)
    for wrong in ({"steps": 0}, {"lr": 0.0}, {"average": 1.0}, {"seed": -1}):
        with pytest.raises(ValueError, match="give"):
            DensityFitConfig(**wrong)
    with pytest.raises(ValueError, match="one of flow, autoregressive, bound"):
        new_density("gan")
    with pytest.raises(ValueError, match="is told size, width, blocks"):
        new_density("autoregressive", levels=3)


def test_another_fits_checkpoint_is_not_gone_on_with(tmp_path):
    model = lambda: new_density("bound", **SIZES["bound"])  # noqa: E731
    fit_density(model(), frames(), BRIEF, tmp_path, quiet=True)
    with pytest.raises(ValueError, match=r"steps=6 \(now 7\): give the same"):
        fit_density(model(), frames(), DensityFitConfig(steps=7, batch=3), tmp_path, quiet=True)
    with pytest.raises(ValueError, match="family"):
        fit_density(new_density("flow", **SIZES["flow"]), frames(), BRIEF, tmp_path, quiet=True)


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sound")
    save_density(new_density("flow", **SIZES["flow"]), folder, {"env_id": "slider"})
    return folder


def _card(change):
    def spoil(folder):
        card = read_json(folder / "density.json")
        change(card)
        write_json(folder / "density.json", card)

    return spoil


def _weights(change, rehash=True):
    def spoil(folder):
        tensors, meta = load_tensors(folder / "density.safetensors")
        change(tensors)
        save_tensors(folder / "density.safetensors", tensors, meta)
        if rehash:
            _card(lambda card: card["files"].update({"density.safetensors": sha256(folder / "density.safetensors")}))(
                folder
            )

    return spoil


FAULTS = {
    "no card": (lambda folder: (folder / "density.json").unlink(), FileNotFoundError, "fit_density wrote"),
    "no weights": (lambda folder: (folder / "density.safetensors").unlink(), FileNotFoundError, "whole folder"),
    "half a card": (lambda folder: (folder / "density.json").write_text('{"format":'), ValueError, "JSON"),
    "another format": (_card(lambda card: card.update(format=2)), ValueError, "format 2"),
    "another family": (_card(lambda card: card.update(family="gan")), ValueError, "describe a density"),
    "a family that it is not": (_card(lambda card: card.update(family="bound")), ValueError, "describe a density"),
    "another width": (_card(lambda card: card["config"].update(width=9)), ValueError, "copy both again"),
    "a size beyond reason": (_card(lambda card: card["config"].update(width=10**9)), ValueError, "up to 8192"),
    "far too many weights": (_card(lambda card: card["config"].update(width=8192)), ValueError, "100,000,000 weights"),
    "a size that is none": (_card(lambda card: card["config"].update(width=8.0)), ValueError, "whole numbers"),
    "a size too few": (_card(lambda card: card["config"].pop("width")), ValueError, "whole numbers"),
    "another story": (_card(lambda card: card["spec"].update(env_id="other")), ValueError, "copy both again"),
    "no hashes": (_card(lambda card: card.pop("files")), ValueError, "hash"),
    "changed weights": (_weights(lambda x: x["splits.0.place"].add_(1), rehash=False), ValueError, "hash differs"),
    "weights that are no numbers": (_weights(lambda x: x["splits.0.place"].fill_(np.nan)), ValueError, "no float32"),
    "weights of another type": (
        _weights(lambda x: x.update({"splits.0.place": x["splits.0.place"].double()})), ValueError, "no float32",
    ),
    "a weight too few": (_weights(lambda x: x.pop("splits.0.place")), ValueError, "does not fit"),
    "a weight of another shape": (_weights(lambda x: x.update({"splits.0.place": torch.zeros(3)})), ValueError, "fit"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_faulty_files_are_refused(fault, sound, tmp_path):
    spoil, kind, text = FAULTS[fault]
    folder = tmp_path / "copy"
    shutil.copytree(sound, folder)
    load_density(folder)
    spoil(folder)
    with pytest.raises(kind, match=text):
        load_density(folder)


def test_half_a_file_is_refused(sound, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(sound, folder)
    whole = (folder / "density.safetensors").read_bytes()
    (folder / "density.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="hash differs"):
        load_density(folder)


def test_codecs_pack_without_loss_and_flat_frames_into_less():
    imagecodecs = pytest.importorskip("imagecodecs")
    noise = np.random.default_rng(0).integers(256, size=(2, 16, 16, 3), dtype=np.uint8)
    for name in CODECS:
        flat, rough = codec_bits(frames(2), name), codec_bits(noise, name)
        assert flat.shape == (2,) and (flat < 3).all() and (rough > 7.9).all(), name
    packed = imagecodecs.jpegxl_encode(noise[0], lossless=True, effort=10, usecontainer=False)
    np.testing.assert_array_equal(imagecodecs.jpegxl_decode(packed), noise[0])
    packed = imagecodecs.webp_encode(noise[0], lossless=True, level=100, method=6)
    np.testing.assert_array_equal(imagecodecs.webp_decode(packed), noise[0])
    with pytest.raises(ValueError, match="one of PNG, WebP lossless, JPEG XL lossless"):
        codec_bits(noise, "GIF")


def test_without_imagecodecs_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "imagecodecs", None)
    with pytest.raises(ModuleNotFoundError, match="ood-bench"):
        codec_bits(frames(1), "PNG")


@pytest.fixture(scope="module")
def script():
    path = Path(__file__).parents[1] / "scripts" / "densities.py"
    spec = importlib.util.spec_from_file_location("densities_script", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_the_script_writes_figures_with_intervals_and_does_nothing_twice(script, data, tmp_path, monkeypatch):
    pytest.importorskip("imagecodecs")
    small = lambda family, seed, size: new_density(family, seed, **SIZES[family] | {"size": size})  # noqa: E731
    monkeypatch.setattr(script, "new_density", small)
    size = Dataset(data).spec["size"]
    options = script.Densities(
        [data], frames=20, samples=3, importance=2, steps=2, size=size, work=tmp_path / "work", out=tmp_path / "it.json"
    )
    script.main(options)
    told = read_json(tmp_path / "it.json")
    ((name, found),) = told["data"].items()
    assert {*CODECS, "autoregressive", "flow", "bound, ELBO", "bound, 2 importance samples"} == {*found["bits"]}
    for row in found["bits"].values():
        assert row["interval"][0] <= row["value"] <= row["interval"][1] and row["value"] > 0
    assert found["bits"][found["best_codec"]]["below_best_codec"]["value"] == 0
    assert found["bits"][found["best_codec"]]["value"] == min(found["bits"][codec]["value"] for codec in CODECS)
    assert len([*tmp_path.glob("*.png")]) == 3 and found["flow"]["sampling"]["seconds"] >= 0
    assert str(tmp_path) not in (tmp_path / "it.json").read_text()
    monkeypatch.setattr(script, "fit_density", None)
    monkeypatch.setattr(script, "per_frame", None)
    script.main(options)
    assert read_json(tmp_path / "it.json")["data"][name]["bits"] == found["bits"]


def test_intervals_are_over_episodes(script):
    """Two episodes, each of equal frames: the mean swings as if there were two values, not two hundred."""
    bits, episode = [1.0] * 100 + [2.0] * 100, np.repeat([0, 1], 100)
    row = script.figure(bits, [2.0] * 200, episode, 0)
    assert row["value"] == 1.5 and row["interval"] == [1.0, 2.0]
    assert row["below_best_codec"] == {"value": 0.25, "interval": [0.0, 0.5]}
