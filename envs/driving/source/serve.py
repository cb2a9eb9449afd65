"""Answers requests for episodes of MetaDrive on stdin and stdout; what MetaDrive prints goes to stderr.

It runs with the Python of MetaDrive's own environment, of which gensim's knows nothing, and imports nothing of gensim.
Requests: {"do": "reset", "seed": ..., "traffic": ..., "people": ..., "accidents": ..., "manner": ...},
{"do": "step"} with an array "act" or none, {"do": "close"}. Answers: rew, end and the arrays of `street.Street`, or
{"fault": text}.
"""

from __future__ import annotations

import os
import sys
import traceback
from typing import Any

from wire import receive, send


def main() -> None:
    """Serves one engine until stdin closes."""
    answers = os.fdopen(os.dup(1), "wb")
    requests = os.fdopen(os.dup(0), "rb")
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    try:
        from street import Street

        street = Street()
    except Exception:
        send(answers, {"fault": traceback.format_exc(limit=3)})
        return
    send(answers, {"ready": True})
    while True:
        try:
            request, arrays = receive(requests)
        except EOFError:
            return
        do: str = request.pop("do")
        if do == "close":
            return
        _answer(answers, street, do, request, arrays)


def _answer(answers: Any, street: Any, do: str, request: dict[str, Any], arrays: dict[str, Any]) -> None:
    try:
        told = street.reset(**request) if do == "reset" else street.step(arrays.get("act"))
    except Exception:
        send(answers, {"fault": traceback.format_exc(limit=4)})
        return
    send(answers, {"rew": told["rew"], "end": told["end"]}, told["arrays"])


if __name__ == "__main__":
    main()
