"""Figures as text: the formats of Prometheus (0.0.4) and of OpenMetrics (1.0). Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Literal

import msgspec

from hanse.kernel.telemetry import BUCKETS, Figures

PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"
OPEN_METRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"

Labels = Mapping[str, str]
Kind = Literal["counter", "gauge", "histogram"]

_ESCAPES = str.maketrans({"\\": r"\\", "\n": r"\n", '"': r"\""})
_BOUNDS = (*(f"{bound:g}" for bound in BUCKETS), "+Inf")
_OPEN_BOUNDS = (*(f"{bound:.6g}" if bound % 1 else f"{bound:.1f}" for bound in BUCKETS), "+Inf")


class Family(msgspec.Struct, frozen=True):
    """One metric: its name, and a sample for each combination of labels.

    Attributes:
        name: With its unit at the end, such as `process_cpu_seconds`; a counter's without `_total`.
        kind: What it is.
        told: What it tells, in one line.
        samples: Numbers by labels.
        histograms: Durations by labels, of a histogram.
    """

    name: str
    kind: Kind
    told: str
    samples: Sequence[tuple[Labels, float]] = ()
    histograms: Sequence[tuple[Labels, Figures]] = ()


def exposition(families: Iterable[Family], *, open_metrics: bool = False) -> bytes:
    r"""The families as text.

    Example:
        >>> exposition([Family("calls", "counter", "Calls.", [({"to": "tea"}, 2)])]).decode().splitlines()
        ['# HELP calls_total Calls.', '# TYPE calls_total counter', 'calls_total{to="tea"} 2']
        >>> exposition([], open_metrics=True)
        b'# EOF\n'
    """
    lines = [line for family in families for line in _lines(family, open_metrics=open_metrics)]
    if open_metrics:
        lines.append("# EOF")
    return "".join([f"{line}\n" for line in lines]).encode()


def _lines(family: Family, *, open_metrics: bool) -> Iterator[str]:
    name = f"{family.name}_total" if family.kind == "counter" else family.name
    # OpenMetrics names the family; the older format names the sample.
    said = family.name if open_metrics else name
    yield f"# HELP {said} {family.told}"
    yield f"# TYPE {said} {family.kind}"
    for labels, value in family.samples:
        yield f"{name}{_labels(labels)} {_number(value)}"
    for labels, figures in family.histograms:
        yield from _histogram(name, labels, figures, _OPEN_BOUNDS if open_metrics else _BOUNDS)


def _histogram(name: str, labels: Labels, figures: Figures, bounds: Sequence[str]) -> Iterator[str]:
    text = _labels(labels)
    inner = f"{text[1:-1]}," if text else ""
    upto = 0
    for bound, count in zip(bounds, figures.buckets, strict=True):
        upto += count
        yield f'{name}_bucket{{{inner}le="{bound}"}} {upto}'
    yield f"{name}_sum{text} {_number(figures.seconds)}"
    yield f"{name}_count{text} {figures.count}"


def _labels(labels: Labels) -> str:
    pairs = ",".join([f'{name}="{value.translate(_ESCAPES)}"' for name, value in labels.items()])
    return f"{{{pairs}}}" if pairs else ""


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(float(value))
