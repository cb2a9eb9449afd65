"""A gap in words: the headline table of a card and its sections on policies, judgements, actions, alarm and trust."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gensim.gap.alarm import ALL, FALSE, MARGIN
from gensim.world.card import Gap, cell, table, table_by_horizon


def headline(gap: Gap) -> str:
    """The table at the top of the card: what a reader wants to know first."""
    figures, rows = gap["figures"], []
    returns, ranked, alarm = (figures.get(name, {}) for name in ("returns", "ranking", "alarm"))
    if {"dream", "real"} <= returns.keys():
        both = [f"{returns[side]['mean']:.0f} ({_ci(returns[side])})" for side in ("dream", "real")]
        rows += [["Return of its agent, dreamed", both[0]], ["Return of its agent, real", both[1]]]
        rows += [["Dreamed over real, less one", cell(returns["difference"], 2)]]
    for name, label in (("all", "all"), ("better_half", "the better half of")):
        if name in ranked:
            one = ranked[name]
            text = f"Rank correlation over {label} {ranked['all']['policies']} policies"
            rows.append([text, cell(one["spearman"], 2)])
    one = alarm.get("candidates", {}).get(ALL)
    if one and one["hits"]["value"] is not None:
        rows.append([f"Alarm: of {one['hits']['of']} policies that exploit it, found", cell(one["hits"], 2)])
        rows.append([f"Alarm: of {one['false_alarms']['of']} honest ones, wrongly named", cell(one["false_alarms"], 2)])
    rows += [["In one line", _line(figures)]] if not rows else []
    return table(["what", "figure (95 % interval)"], rows)


def sections(gap: Gap, picture: str | None = None) -> list[str]:
    """The sections after the returns."""
    figures = gap["figures"]
    found = [_policies(figures, picture), _calibration(figures), _actions(figures, gap["world"]["fps"])]
    return [text for text in (*found, _alarm(figures), _trust(figures)) if text]


def _line(figures: Mapping[str, Any]) -> str:
    quality = figures["quality"]
    return f"{quality['psnr']['dream']['value'][-1]:.1f} dB after {quality['horizons'][-1]} steps"


# -------------------------------------------------------------------- policies


def _policies(figures: Mapping[str, Any], picture: str | None) -> str:
    if "policies" not in figures:
        return ""
    told, ranked = figures["policies"], figures["ranking"]
    seeds = told["seeds"]["real"]
    text = (
        f"## Policies, dreamed and real\n\n{len(told['rows'])} policies from chance to the best, by a fixed list, each "
        f"in {told['episodes']} real episodes (seeds {seeds[0]:,} to {seeds[1]:,}, {told['real_frames']:,} simulator "
        f"frames) and {told['dreams']} dreams of {told['horizon']} steps from real starts: temperature 1, no dropout "
        "mask, no cut for lost trust. An agent of another world acts in the dream through its own world's filter on "
        "decoded frames. In brackets 95 % intervals of the mean."
    )
    names = {"all": "all", "better_half": "the better half by real return", "not_exploiters": "not made to exploit"}
    rows = [
        [names[name], str(one["policies"]), cell(one["spearman"], 2), cell(one["pearson"], 2)]
        for name, one in ranked.items()
    ]
    order = sorted(told["rows"], key=lambda one: one["real"]["mean"])
    each = [
        [
            one["name"],
            *(f"{one[s]['mean']:.1f} ({_ci(one[s], 1)})" for s in ("real", "dream")),
            f"{one['dream_steps']:.0f}",
        ]
        for one in order
    ]
    shown = [f"![Dreamed over real return of every policy, with the diagonal]({picture})"] if picture else []
    ranks = table(["correlation of mean returns over", "policies", "Spearman", "Pearson"], rows)
    note = "Intervals are bootstraps over policies, real seeds and dreams."
    return "\n\n".join([text, *shown, ranks, note, table(["policy", "real", "dreamed", "dreamed steps"], each)])


# -------------------------------------------------------------------- judgements


def _calibration(figures: Mapping[str, Any]) -> str:
    told = figures["calibration"]
    text = (
        f"## Calibration\n\nAlong {told['episodes']} held-out episodes, when the world follows the frames and when it "
        "dreams on under the recorded actions, by steps since the last real frame. The error of rewards is the mean "
        "distance between what was expected and what came over ten bins of what was expected."
    )
    rewards = [
        [name, f"{one['steps']:,}", cell(one["error"], 3), cell(one["bias"], 3), f"{one['spread']:.3f}"]
        for name, one in told["reward"].items()
    ]
    ends = [
        [
            name,
            str(one["terminations"]),
            cell(one["expected"], 1),
            cell(one["brier"], 4),
            cell(one["skill"], 2),
            cell(one["recall"], 2),
            cell(one["false_alarms"], 4),
        ]
        for name, one in told["termination"].items()
    ]
    sums = told["sums"]
    line = (
        f"Rewards summed over {sums['window']} steps: expected and recorded correlate by "
        f"{cell(sums['following']['correlation'], 2)} when following and by "
        f"{cell(sums['dreaming']['correlation'], 2)} when dreaming on "
        f"({sums['following']['windows']:,} and {sums['dreaming']['windows']:,} windows)."
    )
    tables = [
        table(["rewards", "steps", "error", "bias", "their own spread"], rewards),
        line,
        table(["ends", "came", "expected", "Brier", "skill", "recall", "false alarms"], ends),
        "Recall and false alarms are at a probability of one half; skill is one less the Brier score over that of "
        "always saying the share of ends.",
    ]
    return "\n\n".join([text, *tables])


# -------------------------------------------------------------------- actions


def _actions(figures: Mapping[str, Any], fps: float) -> str:
    told = figures["actions"]
    text = (
        f"## What an action changes\n\nFrom {told['starts']} held-out starts two opposite actions are each held, "
        f"{told['samples']} times with chances of their own. The share of starts where futures under different actions "
        "lie further apart than under the same one; no effect would give 0.5."
    )
    tables = []
    for kind, label in (("latent", "in the encoder's beliefs"), ("pixels", "in pixels")):
        rows = {name: pair[kind]["differ"] for name, pair in told["pairs"].items()}
        tables.append(table_by_horizon(f"Further apart {label}", rows, told["steps"], fps, 2))
    return "\n\n".join([text, *tables, _ratio(told, fps)])


def _ratio(told: Mapping[str, Any], fps: float) -> str:
    rows: dict[str, Any] = {}
    for name, pair in told["pairs"].items():
        rows |= {f"{name}, different": pair["pixels"]["different"], f"{name}, same": pair["pixels"]["same"]}
    return table_by_horizon("Root mean square distance (of 255)", rows, told["steps"], fps, 1)


# -------------------------------------------------------------------- the alarm


def _alarm(figures: Mapping[str, Any]) -> str:
    told = figures.get("alarm")
    if not told or not told["candidates"]:
        return ""
    text = (
        "## The alarm for exploitation\n\nFrom dreams alone: can a policy's dreamed return be believed? A policy "
        f"counts as exploiting when its dreamed return exceeds its real one by more than {100 * MARGIN:.0f} % of the "
        f"scale; the scale, {told['scale']:.1f}, is the range of mean real returns over the policies not made to "
        f"exploit. So counted, {told['exploiting']} exploit and {told['honest']} are honest; of {told['made']} made "
        f"to exploit, {told['made_and_exploit']} do. Each threshold is set on honest policies alone, for "
        f"{100 * FALSE:.0f} % of false alarms; those are counted with every policy judged by the others' threshold."
    )
    rows = [
        [name, cell(one["auc"], 2), cell(one["hits"], 2), cell(one["false_alarms"], 2)]
        for name, one in told["candidates"].items()
    ]
    more = (
        f"Other worlds asked for a second opinion: {told['second']}." if told["second"] else "No other world was asked."
    )
    return "\n\n".join([text, table(["evidence", "AUC", "found", "false alarms"], rows), more])


# -------------------------------------------------------------------- trust


def _trust(figures: Mapping[str, Any]) -> str:
    told = figures["trust"]
    text = (
        f"## Is trust a p-value?\n\nOn {told['episodes']} {told['on']}: were it one, it would be uniform at every "
        "horizon, with a mean of 0.5 and 5 % of the steps below 0.05. The Kolmogorov-Smirnov distance is taken on "
        f"values about {told['apart']} steps apart; its p-value holds as far as these are independent, which the "
        "correlation of neighbours tells."
    )
    rows = [
        [
            _span(one),
            str(one["values"]),
            f"{one['ks']:.3f}",
            f"{one['p']:.3f}",
            "-" if one["neighbours"] is None else f"{one['neighbours']:.2f}",
            cell(one["mean"], 2),
            cell(one["below_5"], 3),
        ]
        for one in told["horizons"]
    ]
    head = ["imagined steps", "values", "distance", "p", "neighbours", "mean", "below 0.05"]
    return "\n\n".join([text, table(head, rows)])


def _span(one: Mapping[str, Any]) -> str:
    low, high = one["from"], one["to"]
    if high is None:
        return f"{low} and more"
    return str(low) if low == high else f"{low} to {high}"


def _ci(one: Mapping[str, Any], digits: int = 0) -> str:
    ends: Sequence[float] | None = one["ci95"]
    return "-" if ends is None else f"{ends[0]:.{digits}f} to {ends[1]:.{digits}f}"
