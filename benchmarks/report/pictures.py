"""The pictures of docs/benchmarks.md and docs/samplers.md."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib import color_sequences, pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.draws.peers import PEERS
from benchmarks.draws.settings import HEADLINE
from benchmarks.measuring.rows import Row
from benchmarks.paper_tables import GB
from benchmarks.report.sgs_targets import by_encoder

# Only these: the lines of more strategies would hide each other.
_DRAWN = ("Random", "Grid", "Block", "DPP", "GradientNorm")
_TICKS = (0.25, 0.5, 1, 2, 4)
_MEASURES = {"error": "error, to the full gradient", "cosine": "cosine with the full gradient"}


def draw_memory(rows: Sequence[Row], path: Path) -> None:
    """Draw the peaks of the paper's tables beside the paper's figures, and ours below."""
    shown = {row["name"]: row for row in rows if row["table"] in ("6", "3", "ours")}
    shown = {name: row for name, row in shown.items() if "ratio" not in name}
    names = list(shown)[::-1]
    figure, axes = plt.subplots(figsize=(8, 0.24 * len(names) + 1), layout="constrained")
    ours = [shown[name]["peak_bytes"] / GB for name in names]
    axes.scatter(ours, names, color="tab:blue", label="ours, dry run")
    papers = {name: shown[name]["paper"].get("memory") for name in names}
    known = {name: memory for name, memory in papers.items() if memory is not None}
    label = "paper (V100)"
    axes.scatter(list(known.values()), list(known), color="black", marker="|", s=90, label=label)
    axes.grid(alpha=0.4)
    axes.set(xscale="log", xlabel="peak memory of a training step, GB")
    axes.legend()
    save(figure, path)


def draw_time(rows: Sequence[Row], path: Path) -> None:
    """Draw the time of each method relative to naive training, with the quartiles of the rounds."""
    encoders = by_encoder(rows)
    figure, all_axes = plt.subplots(
        1, len(encoders), figsize=(4 * len(encoders), 3.6), layout="constrained", squeeze=False
    )
    for (encoder, own), axes in zip(encoders.items(), all_axes[0], strict=True):
        # There are more methods than the ten default colours.
        axes.set_prop_cycle(color=color_sequences["tab20"])
        for method in dict.fromkeys(row["method"] for row in own):
            _draw_method(axes, method, [row for row in own if row["method"] == method])
        axes.set(title=encoder, xlabel="ratio, %", ylim=(0, None))
    all_axes[0][0].set_ylabel("CPU step time, to naive")
    handles, labels = all_axes[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, fontsize="small")
    save(figure, path)


def _draw_method(axes: Axes, method: str, rows: Sequence[Row]) -> None:
    ratios = [100 * row["ratio"] for row in rows]
    first, median, third = zip(*(row["relative_to"]["naive"] for row in rows), strict=True)
    below = [m - f for m, f in zip(median, first, strict=True)]
    above = [t - m for m, t in zip(median, third, strict=True)]
    style = "o-" if len(rows) > 1 else "s"
    axes.errorbar(ratios, median, yerr=[below, above], fmt=style, label=method, markersize=4)


def draw_sampler_time(rows: Sequence[Row], path: Path) -> None:
    """Draw the time of a sample at the headline's ratio and features, by number of proposals."""
    same = ("on_map", "channels", "ratio", "features")
    own = [
        row
        for row in rows
        if row["what"] == "sample"
        and row["step_ms"]
        and all(row["setting"][name] == getattr(HEADLINE, name) for name in same)
    ]
    figure, axes = plt.subplots(figsize=(8, 4.5), layout="constrained")
    axes.set_prop_cycle(color=color_sequences["tab20"])
    for method in dict.fromkeys(row["method"] for row in own):
        points = sorted(
            (row["setting"]["num_items"], row["step_ms"][1])
            for row in own
            if row["method"] == method
        )
        style = "s--" if method in PEERS else "o-"
        axes.plot(*zip(*points, strict=True), style, label=method, markersize=4)
    axes.grid(alpha=0.4)
    axes.set(xscale="log", yscale="log", xlabel="proposals", ylabel="time of a sample, ms")
    figure.legend(loc="outside right center", fontsize="small")
    save(figure, path)


def draw_errors(rows: Sequence[Row], path: Path) -> None:
    """Draw error and cosine of weighted samples by ratio, with their intervals."""
    models = list(dict.fromkeys(row["model"] for row in rows))
    figure, all_axes = plt.subplots(
        len(_MEASURES),
        len(models),
        figsize=(9, 6.5),
        sharex=True,
        sharey="row",
        layout="constrained",
    )
    for (measure, label), line in zip(_MEASURES.items(), all_axes, strict=True):
        line[0].set_ylabel(label)
        for model, axes in zip(models, line, strict=True):
            own = [row for row in rows if row["model"] == model]
            for strategy in _DRAWN:
                _draw_strategy(axes, strategy, own, measure=measure)
            axes.grid(alpha=0.4)
    for model, above, below in zip(models, *all_axes, strict=True):
        # Without weights the error is a bias, so only the direction can be compared.
        _draw_strategy(
            below, "FarthestPoint", [row for row in rows if row["model"] == model], measure="cosine"
        )
        above.set(title=f"{model} model", yscale="log", yticks=_TICKS)
        above.yaxis.set_major_formatter("{x:g}")
        above.yaxis.set_minor_formatter("")
        below.set_xlabel("snippets with a gradient, %")
    handles, labels = all_axes[-1][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3)
    save(figure, path)


def _draw_strategy(axes: Axes, strategy: str, rows: Sequence[Row], *, measure: str) -> None:
    """Draw one line, of weighted samples if the strategy has weights."""
    own = [row for row in rows if row["strategy"] == strategy]
    weights = own[0]["weights"]
    own = [row for row in own if row["weights"] == weights]
    ratios = [100 * row["ratio"] for row in own]
    low, value, high = zip(*(row[measure] for row in own), strict=True)
    label = strategy if weights == "inverse_probability" else f"{strategy}, no weights"
    axes.plot(ratios, value, "o-", label=label, markersize=4)
    axes.fill_between(ratios, low, high, alpha=0.15)


def save(figure: Figure, path: Path, *, dpi: int = 80) -> None:
    figure.savefig(path, dpi=dpi, metadata={"Software": None})
    plt.close(figure)
