"""A gap in words: the headline table of a card and its sections on policies, judgements, actions, alarm and trust."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gensim.gap.alarm import ALL, FALSE, MARGIN
from gensim.world.card import Gap, amount, amounts, cell, table, table_by_horizon


def headline(gap: Gap) -> str:
    """The table at the top of the card: what a reader wants to know first."""
    figures, rows = gap["figures"], []
    returns, ranked, alarm = (figures.get(name, {}) for name in ("returns", "ranking", "alarm"))
    if {"dream", "real"} <= returns.keys():
        sides = (("dreamed", "dream"), ("real", "real"))
        rows += [[f"Return of its agent, {name}", amount(returns[side])] for name, side in sides]
        rows += [["Dreamed over real, less one", cell(returns["difference"], 2)]]
    labels = {"all": "all {} policies", "better_half": "the better half of {}, by the same {} real returns of each"}
    for name in (name for name in labels if name in ranked):
        text = labels[name].format(ranked["all"]["policies"], figures["policies"]["episodes"])
        rows.append([f"Rank correlation over {text}", cell(ranked[name]["spearman"], 2)])
    one = alarm.get("candidates", {}).get(ALL)
    if one and one["hits"]["value"] is not None:
        rows.append([f"Alarm: of {one['hits']['of']} policies that exploit it, found", cell(one["hits"], 2)])
        rows.append([f"Alarm: of {alarm['honest']} honest ones, wrongly named", _false(one)])
    if one and one["right"]["of"]:
        rows.append([f"Alarm: right about {one['right']['of']} policies made to exploit it", cell(one["right"], 2)])
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
        f"frames) and {told['dreams']} dreams of at most {told['horizon']} steps from real starts: temperature 1, no "
        "dropout mask, no cut for lost trust. An agent of another world acts in the dream through its own world's "
        "filter on decoded frames. In brackets 95 % intervals of the mean."
    )
    names = {"all": "all", "better_half": "the better half by real return", "not_exploiters": "not made to exploit"}
    names["better_half"] += f" (n = {told['episodes']} each)"
    rows = [
        [names[name], str(one["policies"]), cell(one["spearman"], 2), cell(one["pearson"], 2)]
        for name, one in ranked.items()
    ]
    order = sorted(told["rows"], key=lambda one: one["real"]["mean"])
    each = [[one["name"], amount(one["real"]), amount(one["dream"]), f"{one['dream_steps']:.0f}"] for one in order]
    shown = [f"![Dreamed over real return of every policy, with the diagonal]({picture})"] if picture else []
    ranks = table(["correlation of mean returns over", "policies", "Spearman", "Pearson"], rows)
    note = (
        "Intervals are bootstraps over policies, real seeds and dreams. The better half is chosen by the very real "
        f"returns, {told['episodes']} of each policy, that it is then ranked by."
    )
    return "\n\n".join([text, *shown, ranks, note, table(["policy", "real", "dreamed", "dreamed steps"], each)])


# -------------------------------------------------------------------- judgements


def _calibration(figures: Mapping[str, Any]) -> str:
    told = figures["calibration"]
    text = (
        f"## Calibration\n\nAlong {told['episodes']} {told['on']}, when the world follows the frames and when it "
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
        "lie further apart than under the same one, over as many pairs of either kind; no effect would give 0.5."
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
        f"scale; the scale, {amounts(told['scale'])[0]}, is the range of mean real returns over the policies not made "
        f"to exploit. So counted, {told['exploiting']} exploit and {told['honest']} are honest; of {told['made']} made "
        f"to exploit, {told['made_and_exploit']} do. {_judges(told)} Intervals take policies for independent, which "
        "those of one family are not."
    )
    rows = [
        [name, cell(one["auc"], 2), cell(one["hits"], 2), _false(one), cell(one["right"], 2)]
        for name, one in told["candidates"].items()
    ]
    asked = f"Other worlds asked for a second opinion: {told['second']}."
    more = asked if told["second"] else "No other world was asked."
    if told["lacking"]:
        more += f" Not judged, for some policy's dreams are too short: {', '.join(told['lacking'])}."
    head = ["evidence", "AUC", "found", "false alarms", "right about those made to exploit"]
    return "\n\n".join([text, table(head, rows), more])


def _judges(told: Mapping[str, Any]) -> str:
    """How an honest policy was judged."""
    threshold = f"Each threshold is set on honest policies alone, for {100 * FALSE:.0f} % of false alarms"
    if told["families"] < 2:
        return f"{threshold}; all are of one family, so that this share is so by construction, and measured of none."
    return (
        f"{threshold}. These are counted with every honest policy judged by a threshold that was set without its "
        "family: an agent, its likeliest form and its mixes with chance are one, and so are chance and standing "
        f"still. There are {told['families']} families."
    )


def _false(one: Mapping[str, Any]) -> str:
    return "by construction" if one["false_alarms"]["value"] is None else cell(one["false_alarms"], 2)


# -------------------------------------------------------------------- trust


def _trust(figures: Mapping[str, Any]) -> str:
    told = figures["trust"]
    text = (
        f"## Is trust a p-value?\n\nOn {told['episodes']} {told['on']}: were it one, it would be uniform at every "
        "horizon, with a mean of 0.5 and 5 % of the steps below 0.05. The distance is that of Kolmogorov and Smirnov "
        f"from uniform. {_tested(told)} Later steps than {told['horizons'][-1]['to']} are ranked as those of the last "
        "row: how well, nobody has measured."
    )
    rows = [
        [
            _span(one),
            f"{one['steps']:,}",
            f"{one['ks']:.3f}",
            *_p(told, one),
            cell(one["mean"], 2),
            cell(one["below_5"], 3),
        ]
        for one in told["horizons"]
    ]
    head = ["imagined steps", "steps", "distance", *["p"] * bool(told["known"]), "mean", "below 0.05"]
    return "\n\n".join([text, table(head, rows)])


def _tested(told: Mapping[str, Any]) -> str:
    """What is proven by new episodes, and not by those of the calibration."""
    if not told["known"] and told["on"] == "new episodes":
        return "Those that trust was calibrated on are not at hand, so that there is no test against them."
    if not told["known"]:
        return "That it is nearly so here is how it was made, and proves nothing: there is no p-value."
    return (
        f"p is of a test whether disagreements are of the same law as along the {told['known']} episodes that trust "
        "was calibrated on, with whole episodes shuffled between the two; other policies are another law, too."
    )


def _p(told: Mapping[str, Any], one: Mapping[str, Any]) -> list[str]:
    if not told["known"]:
        return []
    return ["-" if one["p"] is None else f"{one['p']:.3f}"]


def _span(one: Mapping[str, Any]) -> str:
    low, high = one["from"], one["to"]
    return str(low) if low == high else f"{low} to {high}"
