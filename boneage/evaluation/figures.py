"""Figures of agreement and of training."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib
import matplotlib.ticker
import numpy as np
from matplotlib.figure import Figure

from boneage.evaluation import metrics
from boneage.evaluation.bootstrap import bootstrap_interval
from boneage.evaluation.comparison import TestPredictions
from boneage.plotting import FAINT, INK, SEXES, STYLE, save
from boneage.regression.run_folder import Run

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes


def write_agreement(folder: Path, predictions: TestPredictions) -> None:
    """Write the three figures of a run's test part into `folder`."""
    true, predicted, is_male = predictions.arrays
    mean = predictions.age_mean_months
    name = predictions.name
    drawn = {
        "scatter": scatter(true, predicted, is_male, name),
        "bland_altman": bland_altman(true, predicted, is_male, name),
        "error_by_age": error_by_age(true, predicted, is_male, mean, name),
    }
    for figure_name, figure in drawn.items():
        save(figure, folder / f"{figure_name}_{name}.png")


def write_training(folder: Path, run: Run) -> None:
    """Write a run's training curve into `folder`."""
    history = run.read_history()
    save(training_curve(history, run.name), folder / f"training_{run.name}.png")


def scatter(
    true_months: np.ndarray,
    predicted_months: np.ndarray,
    is_male: np.ndarray,
    name: str,
) -> Figure:
    """Predicted over true bone age with the line of identity; one dot a radiograph."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(4.2, 4.2))
        axes = figure.subplots()
        known = np.concatenate(
            [true_months, predicted_months[~np.isnan(predicted_months)]]
        )
        ends = [min(0, known.min() - 6), known.max() + 6]
        axes.plot(ends, ends, color=FAINT, linewidth=1, zorder=1)
        _dots(axes, true_months, predicted_months, is_male)
        axes.set(xlim=ends, ylim=ends, aspect="equal")
        axes.set(xlabel="true bone age (months)", ylabel="predicted bone age (months)")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(matplotlib.ticker.MultipleLocator(24))
        mae = metrics.mae(true_months, predicted_months)
        concordance = metrics.concordance_correlation(true_months, predicted_months)
        axes.set_title(f"{name}\nMAE {mae:.1f} months, CCC {concordance:.3f}")
        axes.legend(loc="upper left", **_legend_of(true_months))
    return figure


def bland_altman(
    true_months: np.ndarray,
    predicted_months: np.ndarray,
    is_male: np.ndarray,
    name: str,
) -> Figure:
    """Error over the mean of true and predicted, with bias and limits of agreement.

    Source: Bland and Altman, Lancet 327 (1986) 307.
    """
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(5.6, 3.8))
        axes = figure.subplots()
        errors = predicted_months - true_months
        _dots(axes, (true_months + predicted_months) / 2, errors, is_male)
        axes.axhline(0, color=FAINT, linewidth=0.8, zorder=1)
        lines = {
            "+1.96 SD": (metrics.upper_limit_of_agreement, "--"),
            "bias": (metrics.bias, "-"),
            "-1.96 SD": (metrics.lower_limit_of_agreement, "--"),
        }
        for label, (metric, dashes) in lines.items():
            level = float(metric(true_months, predicted_months))
            if np.isnan(level):
                continue
            axes.axhline(level, color=INK, linewidth=1.1, linestyle=dashes)
            axes.annotate(
                f"{label}\n{level:+.1f}".replace("-", "\N{MINUS SIGN}"),
                (1.01, level),
                xycoords=("axes fraction", "data"),
                verticalalignment="center",
                fontsize=8,
            )
        axes.set(
            xlabel="mean of true and predicted bone age (months)",
            ylabel="predicted less true (months)",
        )
        axes.xaxis.set_major_locator(matplotlib.ticker.MultipleLocator(24))
        axes.set_title(f"{name}: agreement of {len(errors)} radiographs")
        figure.legend(
            *axes.get_legend_handles_labels(),
            loc="outside lower left",
            ncol=2,
            **_legend_of(errors),
        )
    return figure


def error_by_age(
    true_months: np.ndarray,
    predicted_months: np.ndarray,
    is_male: np.ndarray,
    age_mean_months: float,
    name: str,
    bin_years: int = 2,
    seed: int = 0,
) -> Figure:
    """Mean absolute error by age and sex, beside that of always saying the mean age.

    Bars are 95 % bootstrap intervals; bins with one radiograph have none.
    """
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(5.6, 3.8))
        axes = figure.subplots()
        years = true_months / 12
        edges = np.arange(0, years.max() // bin_years + 2) * bin_years
        highest = 1.0
        counts = np.zeros((2, len(edges) - 1), int)
        for sex, (label, style) in enumerate(SEXES.items()):
            chosen = is_male == (label == "male")
            for number, left in enumerate(edges[:-1]):
                within = chosen & (years >= left) & (years < left + bin_years)
                counts[sex, number] = within.sum()
                value, low, high = bootstrap_interval(
                    metrics.mae,
                    true_months[within],
                    predicted_months[within],
                    np.random.default_rng(seed),
                )
                middle = left + bin_years * (0.42 if sex == 0 else 0.58)
                axes.plot(
                    [middle] * 2, [low, high], color=style["color"], linewidth=1.3
                )
                axes.plot(middle, value, **style, markersize=5, linestyle="none")
                highest = np.nanmax([highest, value, high])
            axes.plot([], [], **style, linestyle="none", label=label)
        ages = np.array([0, age_mean_months / 12, edges[-1]])
        axes.plot(
            ages,
            np.abs(ages * 12 - age_mean_months),
            color=FAINT,
            linestyle="--",
            linewidth=1,
            zorder=1,
            label=f"always the training mean ({age_mean_months:.0f} months)",
        )
        axes.set(
            xlabel="true bone age (years), radiographs male / female",
            ylabel="mean absolute error (months)",
            xlim=(0, edges[-1]),
        )
        # the mean's error leaves the axes at the ends, else it would flatten the rest
        farthest = max(np.abs(ages * 12 - age_mean_months).max(), 1.1 * highest)
        axes.set_ylim(0, min(2.2 * highest, farthest))
        labels = [
            f"{left:g}\N{EN DASH}{left + bin_years:g}\n{male}/{female}"
            for left, (male, female) in zip(edges, counts.T, strict=False)
        ]
        axes.set_xticks(edges[:-1] + bin_years / 2, labels, fontsize=7)
        axes.tick_params(axis="x", length=0)
        axes.set_title(f"{name}: error by age")
        figure.legend(
            *axes.get_legend_handles_labels(), loc="outside lower left", ncol=3
        )
    return figure


def training_curve(history: pd.DataFrame, name: str) -> Figure:
    """Validation error and training loss over the epochs, with the best epoch.

    history: columns `epoch,loss,validation_mae,learning_rate`. They have a panel each:
    the loss need not be in months.
    """
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(5.6, 4.6))
        above, below = figure.subplots(2, sharex=True, height_ratios=(3, 2))
        one = {"marker": "o", "markersize": 3} if len(history) < 40 else {}
        color = SEXES["male"]["color"]
        above.plot(history.epoch, history.validation_mae, color=color, **one)
        above.set(ylabel="validation MAE (months)")
        if history.validation_mae.notna().any():
            # one wild epoch leaves the axes, else it would flatten the rest
            highest, usual = (
                history.validation_mae.max(),
                history.validation_mae.median(),
            )
            above.set_ylim(0, max(1.05 * min(highest, 4 * usual), 1))
            best = history.loc[history.validation_mae.idxmin()]
            above.axvline(best.epoch, color=FAINT, linewidth=0.8, linestyle=":")
            above.set_title(
                f"{name}: best at epoch {best.epoch:.0f}, {best.validation_mae:.1f} "
                "months"
            )
        below.plot(history.epoch, history.loss, color=INK, **one)
        below.set(xlabel="epoch", ylabel="training loss")
        below.xaxis.set_major_locator(matplotlib.ticker.MaxNLocator(integer=True))
        rate = below.twinx()
        rate.plot(history.epoch, history.learning_rate, color=FAINT, linestyle="--")
        rate.set_yscale("log")
        rate.set_ylabel("learning rate (dashed)", color=FAINT)
        rate.spines["right"].set_visible(True)
        rate.spines["right"].set_color(FAINT)
        rate.tick_params(colors=FAINT, which="both")
    return figure


def _dots(axes: Axes, across: np.ndarray, up: np.ndarray, is_male: np.ndarray) -> None:
    size = _dot_size(across)
    for label, style in SEXES.items():
        chosen = is_male == (label == "male")
        if chosen.any():
            axes.scatter(
                across[chosen],
                up[chosen],
                s=size,
                alpha=0.65,
                linewidths=0,
                label=f"{label} ({chosen.sum()})",
                **style,
                zorder=2,
            )


def _dot_size(dots: np.ndarray) -> float:
    return float(np.clip(4000 / max(len(dots), 1), 6, 28))


def _legend_of(dots: np.ndarray) -> dict:
    return {"markerscale": (28 / _dot_size(dots)) ** 0.5, "handletextpad": 0.2}
