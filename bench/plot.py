#!/usr/bin/env python3
"""Draws the JSON of `octet bench scaling` and `octet bench exchange`: plot.py RESULTS.json PICTURE.png"""

import json
import sys

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

PHASES = ("attention", "router", "dispatch", "experts", "combine", "rest", "wait")


def unique(values):
    return list(dict.fromkeys(values))


def layout_of(line):
    if line["ranks"] == 1:
        return f"1 x {line['threads']}"
    return f"{line['ranks']} x {line['threads']}\nep {line['ep']} etp {line['etp']}\n{line['row_layout']}"


def work_of(line):
    if line["work"] == "prefill":
        return f"prefill of {line['prompt_tokens']} tokens"
    return f"decode of {line['streams']} streams"


def plot_scaling(results):
    """A row for each work: tokens/s with its spread, and the time of a step by phase."""
    works = unique(work_of(line) for line in results)
    figure, axes = plt.subplots(len(works), 2, figsize=(14, 4 * len(works)), squeeze=False)
    for (speed, phases), work in zip(axes, works):
        lines = [line for line in results if work_of(line) == work]
        names = [layout_of(line) for line in lines]
        middle = [line["tokens_per_s"] for line in lines]
        below = [line["tokens_per_s"] - line["tokens_per_s_min"] for line in lines]
        above = [line["tokens_per_s_max"] - line["tokens_per_s"] for line in lines]
        speed.bar(names, middle, yerr=(below, above), capsize=3)
        speed.set_ylabel("tokens/s")
        speed.set_title(work)
        base = [0.0] * len(lines)
        for phase in PHASES:
            times = [line["ms_a_step"][phase] for line in lines]
            phases.bar(names, times, bottom=base, label=phase)
            base = [low + time for low, time in zip(base, times)]
        phases.set_ylabel("ms a step")
        phases.legend()
        for axis in (speed, phases):
            axis.tick_params(axis="x", labelsize=7)
    return figure


def plot_exchange(results):
    """A column for each dtype: GB/s over rows."""
    dtypes = unique(line["dtype"] for line in results)
    figure, axes = plt.subplots(1, len(dtypes), figsize=(7 * len(dtypes), 5), squeeze=False, sharey=True)
    for axis, dtype in zip(axes[0], dtypes):
        for what in unique(line["what"] for line in results):
            lines = [line for line in results if line["what"] == what and line["dtype"] == dtype]
            axis.plot([line["rows"] for line in lines], [line["gb_s"] for line in lines], marker="o", label=what)
        axis.set_xscale("log", base=2)
        axis.set_xlabel("rows of a rank")
        axis.set_ylabel("GB/s")
        axis.set_title(dtype)
        axis.legend()
    return figure


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    with open(sys.argv[1], encoding="utf-8") as file:
        report = json.load(file)
    draw = {"scaling": plot_scaling, "exchange": plot_exchange}[report["benchmark"]]
    figure = draw(report["results"])
    figure.tight_layout()
    figure.savefig(sys.argv[2], dpi=120)


if __name__ == "__main__":
    main()
