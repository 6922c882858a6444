"""How a figure looks and how it is written: the same ink, grid, colours and bytes every time."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")
"""One colour an arm, told apart with any colour vision (Okabe and Ito 2008)."""
INK, MUTED, RULE, BAND = "#1c1f24", "#6d727a", "#d8d6d0", "#efeeea"
_THEME = {INK: "ink", MUTED: "muted", RULE: "rule", BAND: "band"} | {c: f"arm{i}" for i, c in enumerate(PALETTE)}
"""Names of the page's CSS variables, so that a figure follows the page into the dark."""

_STYLE: Any = {
    "font.family": "DejaVu Sans", "font.size": 8, "axes.titlesize": 9, "axes.titleweight": "bold",
    "axes.titlelocation": "left", "axes.labelsize": 8, "axes.spines.top": False, "axes.spines.right": False,
    "axes.edgecolor": MUTED, "axes.labelcolor": MUTED, "axes.linewidth": 0.7, "text.color": INK,
    "xtick.color": MUTED, "ytick.color": MUTED, "xtick.major.width": 0.7, "ytick.major.width": 0.7,
    "xtick.major.size": 3, "ytick.major.size": 3, "axes.unicode_minus": True, "lines.linewidth": 1.4,
    "figure.constrained_layout.h_pad": 0.09, "figure.constrained_layout.w_pad": 0.05,
    "svg.fonttype": "path", "svg.hashsalt": "brainage", "savefig.dpi": 200, "path.simplify": True,
}  # fmt: skip


@dataclass(frozen=True)
class Panel:
    """One part of a figure that can stand alone."""

    title: str
    draw: Callable[[Axes], None]
    color: str = INK
    """Of the title."""


@dataclass(frozen=True)
class FigureSpec:
    """A figure: on the page its panels flow with the width, in the files they stand in a grid."""

    name: str
    """Of its files."""
    title: str
    caption: str
    panels: Sequence[Panel]
    size: tuple[float, float] = (3.3, 2.9)
    """Width and height of a panel, inches."""
    columns: int = 3


def arm_color(arms: Sequence[str], arm: str) -> str:
    """Return the colour of an arm, the same in all figures and tables of an experiment."""
    return PALETTE[list(arms).index(arm) % len(PALETTE)]


def write_figure(spec: FigureSpec, folder: Path) -> None:
    """Write NAME.png and NAME.svg, all panels in one, on white."""
    columns = min(spec.columns, len(spec.panels))
    with rc_context(_STYLE):
        figure = _draw(spec.panels, columns, spec.size)
        figure.savefig(folder / f"{spec.name}.png", facecolor="white", metadata={"Software": None})
        figure.set_layout_engine("none")  # the places of the axes stay as they were found for the PNG
        figure.savefig(folder / f"{spec.name}.svg", facecolor="white", metadata={"Date": None, "Creator": None})


def inline_panels(spec: FigureSpec) -> list[str]:
    """Return each panel as an SVG element that takes its colours from the page."""
    return [_inline(panel, spec.size, f"{spec.name}-{i}") for i, panel in enumerate(spec.panels)]


def _draw(panels: Sequence[Panel], columns: int, size: tuple[float, float]) -> Figure:
    rows = ceil(len(panels) / columns)
    figure = Figure(figsize=(size[0] * columns, size[1] * rows), layout="constrained")
    for i, panel in enumerate(panels):
        axes = figure.add_subplot(rows, columns, i + 1)
        panel.draw(axes)
        axes.set_title(panel.title, color=panel.color)
    return figure


def _inline(panel: Panel, size: tuple[float, float], name: str) -> str:
    buffer = io.BytesIO()
    with rc_context(_STYLE):
        figure = _draw([panel], 1, size)
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    svg = buffer.getvalue().decode()
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    head, body = svg.split(">", maxsplit=1)
    svg = re.sub(r' (width|height)="[^"]*"', "", head) + ">" + body  # the page says how wide
    svg = re.sub(r'(\bid="|xlink:href="#|url\(#)', rf"\1{name}-", svg)  # one page, many figures: no id twice
    svg = re.sub("|".join(_THEME), lambda m: f"var(--{_THEME[m.group()]})", svg)
    return re.sub(r">\s+<", "><", svg).strip()
