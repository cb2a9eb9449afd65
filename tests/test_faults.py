"""A few of scripts/faults's kills and mutants, and that a careless reader would be noticed."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from gensim.core.files import write_json

SCRIPT = Path(__file__).parents[1] / "scripts" / "faults.py"


@pytest.fixture(scope="module")
def faults() -> ModuleType:
    """scripts/faults.py as a module."""
    spec = importlib.util.spec_from_file_location("faults_script", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def jury(faults: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Any:
    scratch = tmp_path_factory.mktemp("jury")
    return faults.Jury(faults.small(scratch), scratch)


def judged(jury: Any, file: str, name: str) -> str:
    """The outcome of one mutant of a file."""
    target, file, mutant = next(p for p in jury.pairs if p[1] == file and p[2].name == name)
    return jury.judge(0, target, file, mutant)


def test_mutants_are_refused(faults: ModuleType) -> None:
    told = faults.mutations(60, seed=0, small=True)
    assert told["violations"] == [] and told["refused"] + told["equal"] == 60 and told["refused"] >= 45
    assert told["kinds"] > 300 and len(told["files"]) >= 6


def test_every_file_can_be_read_and_harmless_changes_are(jury: Any) -> None:
    assert {file for _, file, _ in jury.pairs} >= {"world.json", "starts.npz", "heldout.npz", "agent.json"}
    for file in ("world.json", "agent.json", "gap.json"):
        assert judged(jury, file, "whitespace") == "equal"
        assert judged(jury, file, "nested deeply") == "refused"


@pytest.mark.parametrize(
    "file, name, where, careless, outcome",
    [
        ("starts.npz", "objects, rehashed", "gensim.world.starts.load_arrays", "unpickle", "ran code"),
        ("world.safetensors", "NaN in a weight, rehashed", "gensim.world.world._finite", "nothing", "read"),
        ("world.json", 'files.../../../../etc/passwd = "000', "gensim.world.world._checked", "trust", "read"),
        ("world.safetensors", "link out", "gensim.world.world.inside", "join", "read"),
    ],
)
def test_a_careless_reader_is_noticed(
    jury: Any, monkeypatch: pytest.MonkeyPatch, file: str, name: str, where: str, careless: str, outcome: str
) -> None:
    """Without one of the checks its mutant is read, or even runs its code."""
    readers: dict[str, Callable[..., Any]] = {
        "unpickle": lambda path, names: dict(np.load(path, allow_pickle=True).items()),
        "nothing": lambda *given: None,
        "trust": lambda folder, name, card: folder / name,
        "join": lambda folder, name: Path(folder) / name,
    }
    full = next(mutant.name for _, its, mutant in jury.pairs if its == file and mutant.name.startswith(name))
    assert judged(jury, file, full) == "refused"
    monkeypatch.setattr(where, readers[careless])
    before = len(jury.violations)
    assert judged(jury, file, full).startswith(outcome) and len(jury.violations) == before + 1


def test_kills(faults: ModuleType, tmp_path: Path) -> None:
    tally = faults.kills(tmp_path / "kills", 2, seed=0, stages=faults.STAGES[:1])
    assert tally.violations == [] and sum(tally.kills.values()) == 2


def test_half_files_and_lost_episodes_are_noticed(faults: ModuleType, tmp_path: Path) -> None:
    stage, tally = faults.STAGES[0], faults.Tally()
    (tmp_path / "ep-00-000000.npz").write_bytes(b"half")
    (tmp_path / "a.json").write_text('{"a":')
    (tmp_path / ".a.tmp.json").write_text('{"a":')
    write_json(tmp_path / "b.json", {"b": 1})
    faults.settle(stage, tmp_path, {"ep-00-000001.npz": "0"}, tally)
    assert [text.split(":")[1].split()[0] for text in tally.violations] == [
        "ep-00-000001.npz",
        "a.json",
        "ep-00-000000.npz",
    ]
