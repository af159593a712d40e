"""Losses of paced and conventional transfer, and their test errors."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

import matplotlib
import matplotlib.ticker
import numpy as np
from matplotlib.figure import Figure

from boneage.plotting import FAINT, INK, STYLE
from boneage.transfer.methods import Method

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

BASELINES = ("#E69F00", "#56B4E9", "#009E73", "#0072B2", "#CC79A7")
"""Okabe and Ito's colours, which are distinct in all common kinds of colour vision."""
PACED = (INK, "#D55E00", "#8a8a8a")
DASHES = ("-", "--", ":")
"""Line styles, one for each time through the colours."""

LineStyles = dict[str, dict]
"""Label of a method -> colour and dashes of its lines and dots."""


def line_styles(methods: list[Method]) -> LineStyles:
    """Give every method of a group its own colour and dashes."""
    styles = {}
    for colours, of_kind in (
        (PACED, [method for method in methods if method.is_paced]),
        (BASELINES, [method for method in methods if not method.is_paced]),
    ):
        for place, method in enumerate(of_kind):
            turn, colour = divmod(place, len(colours))
            styles[method.label] = {
                "color": colours[colour],
                "linestyle": DASHES[min(turn, len(DASHES) - 1)],
                "linewidth": 2.2 if method.is_paced else 1.3,
            }
    return styles


def group_figure(name: str, methods: list[Method], table: pd.DataFrame) -> Figure:
    """One group: losses by epoch, and test MAE with intervals.

    table: of `comparison.tabulate`, of these methods.
    """
    return joint_figure({name: methods}, table)


def joint_figure(groups: dict[str, list[Method]], table: pd.DataFrame) -> Figure:
    """All groups in rows: two panels of losses and one of test MAE each.

    groups: of `methods.group_methods`. table: of `comparison.tabulate`, of all of them.
    """
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(9.6, 5.2 * len(groups)))
        parts = np.atleast_1d(figure.subfigures(len(groups), 1))
        for part, (name, methods) in zip(parts, groups.items(), strict=True):
            _draw_group(part, name, methods, table[table.group == name])
    return figure


def _draw_group(
    part: Figure, name: str, methods: list[Method], table: pd.DataFrame
) -> None:
    panels = part.subplot_mosaic(
        [["validation", "mae"], ["training", "mae"]],
        width_ratios=(3, 1.5),
        height_ratios=(3, 2),
    )
    style = line_styles(methods)
    for panel, column in (("validation", "validation_loss"), ("training", "loss")):
        axes = panels[panel]
        # paced transfer is drawn last, in front
        for method in methods[::-1]:
            _draw_losses(axes, method, column, style[method.label])
        _clip(axes, methods, column)
        axes.set_ylabel(f"{panel} loss{_unit(methods)}")
        axes.xaxis.set_major_locator(matplotlib.ticker.MaxNLocator(integer=True))
    panels["validation"].tick_params(labelbottom=False)
    panels["training"].sharex(panels["validation"])
    panels["training"].set_xlabel("epoch, counted over all stages")
    part.suptitle(name, x=0.01, horizontalalignment="left", fontsize=11)
    _mark_stages(list(panels.values())[::2], methods)
    _draw_mae(panels["mae"], methods, table, style)


def _draw_losses(axes: Axes, method: Method, column: str, style: dict) -> None:
    """The mean over the seeds, and a band from the lowest to the highest."""
    values = np.stack([result.history[column] for result in method.results])
    epochs = np.arange(1, values.shape[1] + 1)
    axes.plot(epochs, values.mean(axis=0), label=method.label, **style)
    if len(values) > 1:
        least, greatest = values.min(axis=0), values.max(axis=0)
        axes.fill_between(epochs, least, greatest, color=style["color"], alpha=0.15)


def _clip(axes: Axes, methods: list[Method], column: str) -> None:
    """Limit the axes to usual losses, so that an outlier does not flatten the rest."""
    histories = [result.history for m in methods for result in m.results]
    losses = np.concatenate([history[column] for history in histories])
    losses = losses[np.isfinite(losses)]
    if len(losses):
        usual = max(h.groupby("stage")[column].median().max() for h in histories)
        highest = min(losses.max(), 1.5 * usual)
        axes.set_ylim(max(0, 0.9 * losses.min()), 1.05 * max(highest, 1e-6))


def _unit(methods: list[Method]) -> str:
    losses = {result.settings["loss"] for m in methods for result in m.results}
    return " (months)" if losses == {"mae"} else f" ({', '.join(sorted(losses))})"


def _mark_stages(panels: list[Axes], methods: list[Method]) -> None:
    """Mark where the stages of the first paced method begin, named above the axes."""
    if not methods[0].is_paced:
        return
    history = methods[0].results[0].history
    for stage, epochs in history.groupby("stage", sort=False).epoch:
        for axes in panels:
            if epochs.min() > 1:
                axes.axvline(
                    epochs.min() - 0.5, color=FAINT, linewidth=0.8, linestyle=":"
                )
        panels[0].annotate(
            stage,
            (epochs.mean(), 1.01),
            xycoords=("data", "axes fraction"),
            horizontalalignment="center",
            fontsize=8,
            color=INK,
        )


def _draw_mae(
    axes: Axes, methods: list[Method], table: pd.DataFrame, style: LineStyles
) -> None:
    """Test MAE of every method with its interval; its labels serve as the legend."""
    rows = table[table.metric == "mae"].set_index("method")
    for place, method in enumerate(methods):
        row, color = rows.loc[method.label], style[method.label]["color"]
        axes.plot([row.lower, row.upper], [place] * 2, **style[method.label])
        axes.plot(row.value, place, "o", color=color, markersize=6)
        axes.annotate(
            f"{row.value:.1f}",
            (row.value, place),
            (0, 6),
            textcoords="offset points",
            horizontalalignment="center",
            fontsize=8,
        )
    labels = [f"{_broken(m.label)}\n{_count(len(m.seeds), 'seed')}" for m in methods]
    axes.yaxis.tick_right()
    axes.set_yticks(range(len(methods)), labels, fontsize=8)
    for label, method in zip(axes.get_yticklabels(), methods, strict=True):
        label.set_color(style[method.label]["color"])
    axes.set_ylim(len(methods) - 0.5, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.set_xlabel("test MAE (months), 95 % interval")
    axes.set_title(f"{rows.radiographs.iloc[0]} test radiographs", fontsize=9)


def _broken(label: str) -> str:
    """A label with each distinction on a new line, and long ones wrapped."""
    lines = label.replace(" (", "\n(").replace("; ", ";\n").splitlines()
    return "\n".join(part for line in lines for part in textwrap.wrap(line, 26))


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
