"""The benchmark on stand-ins: areas by counting, shifts where they should be, delays counted, work taken up again."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gensim.core.files import read_json
from gensim.ood import bench as bench_module
from gensim.ood.auroc import auroc, curve, won_between
from gensim.ood.bench import Ground, bench, measure
from gensim.ood.bench_config import BenchConfig
from gensim.ood.bench_report import BARS, picture, summed, table
from gensim.ood.judge import RAW, spread
from gensim.ood.pairs import BEGIN, PAIRS, Pair

EPISODES = st.lists(st.lists(st.integers(0, 6), min_size=1, max_size=8).map(np.array), min_size=1, max_size=5)

# -------------------------------------------------------------------- areas


@settings(max_examples=60, deadline=None)
@given(inside=EPISODES, outside=EPISODES)
def test_an_area_is_the_share_of_couples_ranked_rightly(inside: list[np.ndarray], outside: list[np.ndarray]) -> None:
    a, b = np.concatenate(inside)[:, None], np.concatenate(outside)[None]
    told = auroc(inside, outside, draws=50)
    assert told["value"] == pytest.approx(np.where(b > a, 1.0, np.where(b == a, 0.5, 0.0)).mean())
    assert auroc(outside, inside, draws=50)["value"] == pytest.approx(1 - told["value"])
    assert (told["ci95"] is None) == (min(len(inside), len(outside)) < 2)
    assert won_between(inside, outside).shape == (len(inside), len(outside))


def test_an_interval_covers_what_more_episodes_would_say() -> None:
    rng = np.random.Generator(np.random.Philox(1))

    def episodes(mean: float, n: int) -> list[np.ndarray]:
        return [rng.normal(rng.normal(mean, 1.0), 0.3, 20) for _ in range(n)]  # frames of an episode are alike

    truth = auroc(episodes(0, 2000), episodes(1, 2000), draws=2)["value"]
    ends = [auroc(episodes(0, 20), episodes(1, 20), draws=200)["ci95"] for _ in range(60)]
    assert np.mean([low <= truth <= high for low, high in ends]) > 0.8
    naive = [auroc([np.concatenate(episodes(0, 20))] * 2, [np.concatenate(episodes(1, 20))] * 2) for _ in range(3)]
    assert all(one["ci95"] == [one["value"]] * 2 for one in naive)  # equal episodes leave no doubt


def test_pairs_are_drawn_together() -> None:
    rng = np.random.Generator(np.random.Philox(2))
    level = [float(x) for x in rng.normal(0, 5, 12)]
    inside = [np.full(4, x) for x in level]
    wide = auroc(inside, [x + 1.0 for x in inside], draws=400)["ci95"]
    narrow = auroc(inside, [x + 1.0 for x in inside], paired=True, draws=400)["ci95"]
    assert narrow[1] - narrow[0] < wide[1] - wide[0]
    with pytest.raises(ValueError, match="no pairs"):
        auroc(inside, inside[1:], paired=True)
    with pytest.raises(ValueError, match="none of them empty"):
        auroc(inside, [])


def test_a_curve_rises_from_nothing_to_all() -> None:
    points = np.array(curve(np.arange(200.0), np.arange(100.0, 400.0)))
    assert points[0].tolist() == [0, 0] and points[-1].tolist() == [1, 1]
    assert (np.diff(points, axis=0) >= 0).all()


def test_frames_are_spread_over_all_episodes() -> None:
    at = spread([100, 50, 3], 50)
    assert [len(one) > 0 for one in at] == [True] * 3 and 40 <= sum(map(len, at)) <= 60


# -------------------------------------------------------------------- pairs under a stand-in


class Ring:
    """Rings when a score is above 5 and it has not rung in this episode."""

    def alarm(self, scores: np.ndarray) -> np.ndarray:
        rung = np.zeros(len(scores), bool)
        above = np.flatnonzero(scores > 5)
        rung[above[:1]] = True
        return rung


class StandIn:
    """Takes frames for unusual by how far their mean is from 100; over time, by how often they do not change."""

    hashes = {"detector": "d", "flow": "f"}  # noqa: RUF012

    def __init__(self) -> None:
        self.detector = SimpleNamespace(parameters=7)
        self.looked = 0

    def loose(self, frames: np.ndarray) -> dict[str, np.ndarray]:
        self.looked += len(frames)
        far = np.abs(frames.mean((1, 2, 3)) - 100)
        return {"default": far, RAW: -frames.std((1, 2, 3))}

    def streamed(self, frames: np.ndarray, acts: np.ndarray, raw: bool = True) -> dict[str, np.ndarray]:
        assert len(acts) == len(frames) - 1
        same = np.concatenate([[0.0], (frames[1:] == frames[:-1]).all((1, 2, 3))])
        slow = np.array([same[max(0, t - 49) : t + 1].mean() for t in range(len(same))])
        late = np.concatenate([[0.0], np.abs(frames[1:, 0, 0, 0].astype(float) - acts)])
        found = {name: score for name, score in self.loose(frames).items() if raw or name != RAW}
        return {**found, "default": found["default"] + 100 * slow + late, "time": np.where(slow < 0, slow, np.nan)}

    def rings(self, every: int) -> Any:
        return Ring().alarm

    def milliseconds(self, cut: Any) -> dict[str, float]:
        return {"median": 1.0, "p95": 2.0}


def held(n: int = 6, steps: int = 110, level: int = 100) -> list[tuple[np.ndarray, np.ndarray]]:
    """Episodes of flickering frames whose first pixel is the action before them."""
    rng = np.random.Generator(np.random.Philox(level))
    found = []
    for _ in range(n):
        frames = rng.integers(level - 2, level + 3, (steps + 1, 16, 16, 3)).astype(np.uint8)
        acts = rng.integers(90, 110, steps)
        frames[1:, 0, 0] = acts[:, None]
        found.append((frames, acts))
    return found


@pytest.fixture
def ground(tmp_path: Path) -> tuple[BenchConfig, Ground]:
    """Figures of usual frames under the stand-in."""
    config = BenchConfig(data=tmp_path, out=tmp_path / "out", frames=120, draws=40)
    return config, Ground.judged(config, StandIn(), held())  # type: ignore[arg-type]


def test_a_shift_is_measured_by_frame_at_five_strengths_and_its_alarm_is_quick(
    ground: tuple[BenchConfig, Ground],
) -> None:
    told = measure(*ground, Pair("carracing", "darker", "camera"))
    values = [told["frame"][str(s)]["default"]["value"] for s in range(1, 6)]
    assert values == sorted(values) and values[-1] == 1.0 and told["by"] == "frame"
    assert told["delay"] == {"every": 300, "median": 1.0, "episodes": 6, "early": 0, "missed": 0}
    assert RAW in told["frame"]["3"] and RAW not in told["window"]["3"]  # dear, and not asked for
    assert "time" not in told["frame"]["3"] and "time" not in told["window"]["3"]  # never known


def test_a_frozen_camera_is_measured_by_window(ground: tuple[BenchConfig, Ground]) -> None:
    told = measure(*ground, Pair("carracing", "frozen", "time"))
    assert told["frame"] == {} and told["by"] == "window"
    assert told["window"]["3"]["default"]["value"] > 0.95 > told["window"]["3"][RAW]["value"]


def test_late_actions_are_seen_where_actions_are_looked_at(ground: tuple[BenchConfig, Ground]) -> None:
    told = measure(*ground, Pair("carracing", "late", "time"))
    assert told["window"]["3"]["default"]["value"] > 0.9


def test_another_simulator_follows_a_usual_beginning(
    ground: tuple[BenchConfig, Ground], monkeypatch: pytest.MonkeyPatch
) -> None:
    config, one = ground
    monkeypatch.setattr(bench_module, "cuts", lambda folder: held(4, 60, 140))
    told = measure(config, one, Pair("carracing", "takecover", "environment"))
    assert told["frame"]["3"]["default"]["value"] == 1.0 and list(told["frame"]) == ["3"]
    assert told["delay"]["median"] == 1.0 and told["delay"]["episodes"] == 4


def test_changed_dynamics_are_looked_at_from_where_they_set_in(
    ground: tuple[BenchConfig, Ground], monkeypatch: pytest.MonkeyPatch
) -> None:
    config, one = ground
    odd = held(5, 100)
    for frames, _ in odd:
        frames[BEGIN + 1 :] = np.minimum(frames[BEGIN + 1 :] + 60, 255)
    monkeypatch.setattr(bench_module, "cuts", lambda folder: odd)
    told = measure(config, one, Pair("carracing", "carracing-late", "dynamics"))
    assert told["frame"]["3"]["default"]["value"] == 1.0  # no usual frame is among them
    assert told["window"]["3"]["default"]["value"] == 1.0 and told["delay"]["median"] == 1.0


def test_alarms_before_the_shift_are_no_quick_ones(
    ground: tuple[BenchConfig, Ground], monkeypatch: pytest.MonkeyPatch
) -> None:
    config, one = ground
    one.held[0][0][5] = 255
    told = measure(config, one, Pair("carracing", "darker", "camera"))
    assert told["delay"]["early"] == 1 and told["delay"]["median"] == 1.0


# -------------------------------------------------------------------- the whole


def test_a_run_goes_on_where_it_was_stopped_and_writes_its_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("carracing/night", "carracing/frozen", "carracing/flat")
    config = BenchConfig(data=tmp_path, out=tmp_path / "out", frames=60, draws=20, pairs=names)
    judged: list[str] = []

    def ground(config: BenchConfig, name: str, quiet: bool = True) -> Ground:
        return Ground.judged(config, StandIn(), held())  # type: ignore[arg-type]

    def counted(config: BenchConfig, ground: Ground, pair: Pair) -> dict[str, Any]:
        judged.append(pair.name)
        if len(judged) == 3:
            raise KeyboardInterrupt
        return measure(config, ground, pair)

    monkeypatch.setattr(Ground, "of", ground)
    monkeypatch.setattr(bench_module, "measure", counted)
    with pytest.raises(KeyboardInterrupt):
        bench(config, json=True)
    told = bench(config, json=True)
    assert judged == ["carracing/flat", "carracing/night", "carracing/frozen", "carracing/frozen"]
    assert told == bench(config, json=True) and len(judged) == 4
    assert read_json(config.out / "bench.json")["summary"]["choosing"]["pairs"] == 3
    text = (config.out / "bench.md").read_text()
    assert all(name in text for name in names)
    assert (config.out / "roc-carracing.png").stat().st_size > 1000
    with pytest.raises(ValueError, match="frames=60"):
        bench(BenchConfig(data=tmp_path, out=config.out, frames=50, draws=20, pairs=names), json=True)


def row(name: str, mine: float, raw: float, **more: Any) -> dict[str, Any]:
    """A pair's figures, as measured."""
    pair = next(pair for pair in PAIRS if pair.name == name)
    at = {"default": {"value": mine, "ci95": None}, RAW: {"value": raw, "ci95": [raw, raw]}}
    by = "window" if pair.windowed else "frame"
    blank: dict[str, Any] = {"frame": {}, "window": {}, "delay": {"every": 1, "median": 1.0, "early": 0, "missed": 0}}
    blank["delay"]["episodes"] = 9
    about = {"name": name, "family": pair.family, "part": pair.part, "kind": pair.kind, "trap": pair.trap, "by": by}
    return {**about, **blank, by: {"3": at}, "curves": {"default": [[0, 0], [0.2, 0.9], [1, 1]]}, **more}


def test_bars_are_counted_as_they_are_meant() -> None:
    late = {"every": 1, "median": 3.0, "early": 0, "missed": 0, "episodes": 9}
    rows = [
        row("carracing/flat", 1.0, 0.05),
        row("carracing/tiled", 0.97, 0.3),
        row("carracing/fog", 0.89, 0.5),
        row("carracing/noise", 0.96, 1.0, delay=late),
        row("carracing/frozen", 0.95, 0.5, delay={**late, "median": None}),
    ]
    told = summed(rows, {"carracing": {"parameters": 5, "ms": {"median": 1.5}}})
    assert told["mean"] == pytest.approx(np.mean([1, 0.97, 0.89, 0.96, 0.95]))
    assert told["least"] == {"pair": "carracing/fog", "auroc": 0.89}
    assert told["visible"]["under"] == {"carracing/fog at 3": 0.89} and told["visible"]["measured"] == 3
    assert told["below_likelihood"]["over"] == ["carracing/noise"]
    assert told["traps"] == {"listed": 2, "true": ["carracing/flat"], "foreseen": ["carracing/flat"], "default": 1.0}
    assert told["delay"]["over"] == ["carracing/noise"]  # a windowed pair need not be quick
    assert told["means"]["default"] == pytest.approx(np.mean([1, 0.97, 0.89, 0.96]))
    assert told["ms"] == 1.5 and BARS["mean"] == 0.98
    text = table({"summary": {"choosing": told}, "pairs": rows})
    assert "carracing/fog" in text and "0.890" in text and text.count("\n|") == 7
    assert picture(rows).shape[2] == 3 and (picture(rows) != 255).any()


def test_errors_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no pair carracing/haze"):
        BenchConfig(pairs=("carracing/haze",))
    with pytest.raises(FileNotFoundError, match="record_pairs"):
        bench_module.cuts(tmp_path / "carracing" / "held")
