#!/usr/bin/env python3
"""Draws the JSON of `octet bench scaling`, `exchange` and `serve`: plot.py RESULTS.json PICTURE.png"""

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


def plot_scaling(results, _report):
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


def plot_exchange(results, _report):
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


def plot_cumulative(axis, results, name, limit):
    """How many requests of each load are as fast as that."""
    for result in results:
        values = sorted(request[name] for request in result["requests"] if name in request)
        shares = [(i + 1) / len(values) for i in range(len(values))]
        axis.step(values, shares, where="post", label=result["load"])
    if limit is not None:
        axis.axvline(limit, color="grey", linestyle=":")
    axis.set_xlabel(name.replace("_", " "))
    axis.set_ylabel("share of requests")
    axis.set_ylim(0, 1)
    axis.legend(fontsize=7)


def plot_over_loads(axis, results, report):
    """Tokens/s and good requests/s of each load."""
    loads = [result["load"] for result in results]
    axis.bar(loads, [result["output_tokens_per_s"] for result in results], color="lightgrey")
    axis.set_ylabel("output tokens/s (bars)")
    axis.tick_params(axis="x", labelsize=7)
    requests = axis.twinx()
    requests.plot(loads, [result["requests_per_s"] for result in results], marker="o", label="requests/s")
    if "ttft_limit_ms" in report or "tpot_limit_ms" in report:
        requests.plot(loads, [result["goodput_requests_per_s"] for result in results], marker="x", label="goodput")
    requests.set_ylim(bottom=0)
    requests.legend(fontsize=7)


def plot_serve(results, report):
    """Latencies as cumulative shares, a line for each load; throughput and goodput over loads."""
    figure, axes = plt.subplots(2, 2, figsize=(14, 9))
    plot_cumulative(axes[0][0], results, "ttft_ms", report.get("ttft_limit_ms"))
    plot_cumulative(axes[0][1], results, "tpot_ms", report.get("tpot_limit_ms"))
    plot_cumulative(axes[1][0], results, "e2e_ms", None)
    plot_over_loads(axes[1][1], results, report)
    figure.suptitle(f"{report['model']} at {report['server']}")
    return figure


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    with open(sys.argv[1], encoding="utf-8") as file:
        report = json.load(file)
    draw = {"scaling": plot_scaling, "exchange": plot_exchange, "serve": plot_serve}[report["benchmark"]]
    figure = draw(report["results"], report)
    figure.tight_layout()
    figure.savefig(sys.argv[2], dpi=120)


if __name__ == "__main__":
    main()
