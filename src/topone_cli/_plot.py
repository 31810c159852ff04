"""``Stats`` as a picture in a file. Needs matplotlib, which no other module here does."""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# matplotlib leaves the types of its keyword arguments open.

from datetime import UTC
from pathlib import Path
from typing import Final

try:
    from matplotlib import rc_context

    # Without pyplot, which wants a display and keeps figures for the whole program.
    from matplotlib.figure import Figure
except ModuleNotFoundError as error:
    if (error.name or "").partition(".")[0] != "matplotlib":
        raise
    raise ImportError(
        'a picture needs matplotlib: pip install "topone-proto[plot]"', name=error.name
    ) from None

from topone_cli._chart import date, duration
from topone_cli._errors import CommandFailed
from topone_cli._format import printable
from topone_cli._stats import Stats

__all__ = ["save_picture"]

_MAX_STEPS: Final = 400
_GAP_COLOURS: Final = ("tab:orange", "tab:red", "tab:purple", "tab:brown")


def save_picture(stats: Stats, path: Path) -> None:
    """Draw events over time, the gaps marked, as the end of the name says.

    Raises:
        CommandFailed: it cannot be written.
    """
    slot, counts = stats.timeline.in_parts(_MAX_STEPS)
    counts = counts or [0]
    unit, length = _unit(stats.seconds)
    figure = Figure(figsize=(10, 4), layout="constrained")
    axes = figure.subplots()
    edges = [n * slot / length for n in range(len(counts) + 1)]
    axes.stairs([count / slot for count in counts], edges, fill=True, color="tab:blue", alpha=0.7)
    topics = sorted({seen.gap.topic.name for seen in stats.gaps})
    for n, topic in enumerate(topics):
        # Side by side, so that one does not hide the other.
        lowest, highest = n / len(topics), (n + 1) / len(topics)
        label = f"gap of {printable(topic)}"
        for seen in stats.gaps:
            if seen.gap.topic.name == topic:
                axes.axvspan(
                    seen.began / length,
                    seen.ended / length,
                    lowest,
                    highest,
                    color=_GAP_COLOURS[n % len(_GAP_COLOURS)],
                    label=label,
                )
                label = ""
    axes.set(
        title=f"{stats.events.total()} events, {stats.gap_counts.total()} gaps",
        xlabel=f"{unit} since {date(stats.began_at, UTC)}",
        ylabel=f"events per second, {duration(slot)} a step",
        xlim=(0, edges[-1]),
    )
    if topics:
        axes.legend()
    try:
        # The same recording gives the same file.
        with rc_context({"svg.hashsalt": "topone"}):
            figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
    except OSError as error:
        raise CommandFailed(f"cannot write to {path}: {error.strerror}") from None


def _unit(seconds: float) -> tuple[str, float]:
    for unit, length in (("hours", 3600.0), ("minutes", 60.0)):
        if seconds >= 2 * length:
            return unit, length
    return "seconds", 1.0
