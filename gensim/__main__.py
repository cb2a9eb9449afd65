"""gensim: record a simulator, learn it, train in the dream."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import make_dataclass
from importlib import import_module
from typing import Annotated, Any, Union

import tyro

from gensim.core.circumstances import tell
from gensim.core.memory import keep_memory

VERBS = {
    "worlds": ("worlds", "Worlds", "List the worlds that are there."),
    "record": ("record", "Record", "Record a simulator into episodes."),
    "import": ("importing", "Import", "Turn logs without a simulator into episodes."),
    "fit": ("fit", "Fit", "Fit a world to episodes."),
    "learn": ("learn", "Learn", "Learn an agent, all its experience dreamed."),
    "loop": ("loop", "Loop", "Record, fit and learn, round after round."),
    "score": ("score", "Score", "Score an agent in a simulator or in a dream."),
    "dream": ("dream", "Dream", "Dream a video under an agent."),
    "play": ("play", "Play", "Drive a dream or its simulator by hand."),
    "gap": ("gap", "Gap", "Measure a world against its simulator."),
    "people": ("people", "People", "Draw people by their attributes."),
    "rare": ("rare", "Rare", "Estimate and replay rare events of dreams."),
    "stress": ("stress", "Stress", "Count what a perception model misses in corner cases."),
    "ood": ("ood", "Ood", "Fit, score and compare detectors of unusual input."),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one verb; returns the exit status: 0, or 1 after a fault of what was given."""
    argv = list(sys.argv[1:] if argv is None else argv)
    sys.path.append("")  # "module:Name-v0" may name a module of the folder one is in, after all that is installed
    verb = argv[0] if argv and argv[0] in VERBS else None
    style = (tyro.conf.FlagCreatePairsOff,)
    options = tyro.cli(_verbs(verb), prog="gensim", description=__doc__, args=argv, config=style)
    keep_memory()
    tell(["gensim", *argv])
    try:
        status = import_module(type(options).__module__).run(options)
    except (ValueError, OSError, ModuleNotFoundError) as fault:
        if isinstance(fault, ModuleNotFoundError) and fault.name:  # no extra that somebody was told of
            raise
        print(f"gensim {verb}: {fault}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"gensim {verb}: stopped", file=sys.stderr)
        return 130
    return status if isinstance(status, int) else 0


def _verbs(chosen: str | None) -> Any:
    """The union of all verbs' options; only the chosen one's module is loaded: help comes at once."""
    arms = []
    for verb, (module, name, text) in VERBS.items():
        here = verb == chosen
        options: Any = make_dataclass(name, [])
        if here:
            options = getattr(import_module(f"gensim.commands.{module}"), name)
        arms.append(Annotated[options, tyro.conf.subcommand(verb, description=None if here else text)])
    return Union[tuple(arms)]  # noqa: UP007


if __name__ == "__main__":
    sys.exit(main())
