"""Curves as a picture: PNG, SVG or PDF, with matplotlib, which is imported when something is drawn.

All losses share one panel; any other metric has one of its own below, as their
sizes have nothing in common. Several lines of runs: a colour for each. One: a
colour for each metric.
"""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from forgather_spool.errors import Missing
from forgather_spool.runs.curves import Curve, panels
from forgather_spool.runs.read import Axis

FORMATS = ("png", "svg", "pdf")
_WORDS = {"learning_rate": "learning rate", "grad_norm": "gradient norm", "tokens_per_second": "tokens/s"}
_MAX_LABEL = 40
_STYLES = ("-", "--", ":", "-.")
_FEW_POINTS = 40  # with fewer, each gets a mark
# Okabe and Ito's colours, which colour-blind people can tell apart; yellow left out, as it is lost on white.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """How it is drawn. `smooth` is the span of the moving average in points; 1 is none."""

    x: Axis = "step"
    smooth: int = 1
    log_scale: bool = False
    title: str = ""
    format: str = "png"


def picture(found: dict[str, list[Curve]], look: Look) -> bytes:
    """The file's bytes.

    Raises:
        Missing: there is no matplotlib.
    """
    figure_class = _figure_class()
    drawn = panels(found)
    lines = {curve.line: curve.label for panel in drawn for curve in panel}
    figure = figure_class(figsize=(9, 4.2 + 2.6 * (len(drawn) - 1)), layout="constrained")
    axes = figure.subplots(len(drawn), 1, sharex=True, squeeze=False)[:, 0]
    scale_s, x_label = _x_axis(found, look.x)
    for panel, axis in zip(drawn, axes, strict=True):
        _draw_panel(axis, panel, look, scale_s, several=len(lines) > 1)
    axes[-1].set_xlabel(x_label)
    if len(lines) > 1:
        _name_the_lines(axes[0], lines, drawn[0])
    if look.title:
        axes[0].set_title(_fit(look.title, 70), loc="left", fontweight="bold")
    if look.smooth > 1:
        axes[0].set_title(f"moving average over {look.smooth} records", loc="right", fontsize="small", color="#666666")
    return _saved(figure, look.format)


def _saved(figure: Any, form: str) -> bytes:
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a name in a script the font does not have is drawn as boxes
        figure.savefig(file, format=form, dpi=150, **({"metadata": {"Date": None}} if form == "svg" else {}))
    return file.getvalue()


def _figure_class() -> Any:
    """Without pyplot: no display is looked for and no state is kept."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise Missing(
            "pictures need matplotlib, which is not installed",
            hint="pip install 'forgather-spool[plot]', or --terminal, which needs nothing",
        ) from None
    assert FigureCanvasAgg
    return Figure


def _draw_panel(axis: Any, panel: Sequence[Curve], look: Look, scale_s: float, *, several: bool) -> None:
    metrics = _metrics(panel)
    for curve in panel:
        nth = metrics.index(curve.metric)
        colour = _colour(curve.line if several else nth)
        style = {"color": colour, "linestyle": _STYLES[nth % len(_STYLES)]}
        _draw_curve(axis, curve, look, scale_s, style, label=_words(curve.metric))
    axis.set_ylabel((_words(metrics[0]) if len(metrics) == 1 else "loss") + (" (log scale)" if look.log_scale else ""))
    if look.log_scale:
        _log_scale(axis, panel)
    else:
        axis.ticklabel_format(axis="y", scilimits=(-3, 6))
    axis.grid(True, which="both" if look.log_scale else "major", color="#dddddd", linewidth=0.6)
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)
    if not several and len(metrics) > 1:
        axis.legend(frameon=False, fontsize="small")


def _draw_curve(axis: Any, curve: Curve, look: Look, scale_s: float, style: dict[str, Any], label: str) -> None:
    """The raw points, faint if a smoothed line goes over them; a thin upright where a run was resumed."""
    xs, smooth = [x / scale_s for x in curve.series.xs], curve.smoothed(look.smooth)
    marked = {"marker": "o", "markersize": 3} if len(xs) <= _FEW_POINTS else {}
    if smooth is not curve.series:
        axis.plot(xs, _drawable(curve.series.ys), alpha=0.22, linewidth=0.8, **style)
    axis.plot(xs, _drawable(smooth.ys), linewidth=1.5, label=label, **style, **marked)
    for x in curve.resumed_at:
        axis.axvline(x / scale_s, color=style["color"], linewidth=0.8, linestyle=(0, (2, 3)), alpha=0.7)


def _name_the_lines(axis: Any, lines: dict[int, str], panel: Sequence[Curve]) -> None:
    """A legend beside the plot: what the colours mean, and, if there are several, the strokes."""
    from matplotlib.lines import Line2D

    metrics = _metrics(panel)
    handles = [Line2D([], [], color=_colour(line), label=_fit(label, _MAX_LABEL)) for line, label in lines.items()]
    strokes = zip(metrics, _STYLES * len(metrics), strict=False) if len(metrics) > 1 else ()
    handles += [Line2D([], [], color="#666666", linestyle=style, label=_words(metric)) for metric, style in strokes]
    axis.legend(handles=handles, loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False, fontsize="small")


def _metrics(panel: Sequence[Curve]) -> list[str]:
    return list(dict.fromkeys(curve.metric for curve in panel))


def _words(metric: str) -> str:
    return _fit(_WORDS.get(metric, metric.replace("_", " ")), 30)


def _drawable(ys: Sequence[float]) -> list[float]:
    """A gap where the value is not finite."""
    return [y if math.isfinite(y) else math.nan for y in ys]


def _log_scale(axis: Any, panel: Sequence[Curve]) -> None:
    if any(y > 0 and math.isfinite(y) for curve in panel for y in curve.series.ys):
        from matplotlib.ticker import LogFormatter

        axis.set_yscale("log", nonpositive="mask")
        axis.yaxis.set_major_formatter(LogFormatter())
        axis.yaxis.set_minor_formatter(LogFormatter(minor_thresholds=(1.5, 0.6)))


def _x_axis(found: dict[str, list[Curve]], x: Axis) -> tuple[float, str]:
    """What to divide the xs by, and the axis' label with its unit."""
    if x != "time":
        return 1.0, x
    longest_s = max(max(curve.series.xs) for each in found.values() for curve in each)
    scale_s, unit = next(
        ((s, unit) for s, unit in ((3600.0, "hours"), (60.0, "minutes")) if longest_s >= 2 * s), (1.0, "seconds")
    )
    return scale_s, f"training time ({unit})"


def _fit(text: str, length: int) -> str:
    """Printable, not too long, and no formula: `$` begins one, and a leading `_` would hide a legend's entry."""
    plain = "".join(c if c.isprintable() else "?" for c in text)
    plain = plain if len(plain) <= length else plain[: length - 1] + "…"
    return (" " + plain if plain.startswith("_") else plain).replace("$", r"\$")


def _colour(number: int) -> str:
    """More lines than colours go through the rainbow once more, in steps that do not repeat."""
    if number < len(_COLOURS):
        return _COLOURS[number]
    import colorsys

    red, green, blue = colorsys.hsv_to_rgb(number * 0.618 % 1, 0.65, 0.75)
    return f"#{round(red * 255):02x}{round(green * 255):02x}{round(blue * 255):02x}"
