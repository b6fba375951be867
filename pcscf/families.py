"""Families of Prometheus metrics, made when they are asked for from numbers that were counted where something happened.

`values`: numbers by the values of the labels, in the order of `labels`; () is the only one where there are none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

Values: TypeAlias = Mapping[tuple[str, ...], float]


def gauge(name: str, text: str, values: Values, *labels: str) -> Metric:
    return _filled(GaugeMetricFamily(name, text, labels=labels), values)


def counter(name: str, text: str, values: Values, *labels: str) -> Metric:
    return _filled(CounterMetricFamily(name, text, labels=labels), values)


def by_name(numbers: Mapping[Any, float]) -> dict[tuple[str, ...], float]:
    """The values of one label."""
    return {(str(name),): number for name, number in numbers.items()}


def _filled(family: GaugeMetricFamily | CounterMetricFamily, values: Values) -> Metric:
    for labels, value in values.items():
        family.add_metric(labels, value)
    return family
