"""Vega-Lite specifications, without data: as long as a specification stays the same, new data moves the marks in place.

Invariant: batch is dark blue and speed is orange, everywhere; times are UTC.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

BATCH_COLOUR, SPEED_COLOUR, MERGED_COLOUR = "#1b4965", "#f5883f", "#8a9aa6"
HEIGHT = 300

_LAYER = {"domain": ["batch", "speed"], "range": [BATCH_COLOUR, SPEED_COLOUR]}
_TEXT = {"labelColor": "#51626f", "titleColor": "#51626f", "titleFontWeight": "normal"}
_LOOK = {
    "font": "Source Sans, Source Sans Pro, sans-serif",
    "view": {"stroke": None},
    "axis": {**_TEXT, "gridColor": "#e8edf1", "domainColor": "#c9d3da", "tickColor": "#c9d3da", "labelFontSize": 12},
    "legend": {**_TEXT, "orient": "top", "title": None, "labelFontSize": 12},
}
_MIDNIGHT = "utchours(datum.value) == 0 && utcminutes(datum.value) == 0"
_X = {
    "type": "temporal",
    "title": None,
    "scale": {"type": "utc"},
    "axis": {
        "grid": False,
        "labelOverlap": True,
        "labelExpr": f"utcFormat(datum.value, {_MIDNIGHT} ? '%b %d' : '%H:%M')",
    },
}
_SERIES = {"field": "series", "type": "nominal", "scale": {"scheme": "tableau10"}, "legend": {"columns": 5}}
_AMOUNT = {"type": "quantitative", "axis": {"format": "~s", "tickCount": 5}}
_TIME_TIP = {"field": "t", "type": "temporal", "title": "UTC", "format": "%Y-%m-%d %H:%M", "scale": {"type": "utc"}}


def _tips(*fields: tuple[str, str]) -> list[dict[str, str]]:
    kinds = {"value": "quantitative", "merged": "quantitative", "batch": "quantitative", "speed": "quantitative"}
    return [
        {"field": f, "title": title, "type": kinds.get(f, "nominal"), **({"format": ",~f"} if f in kinds else {})}
        for f, title in fields
    ]


def stacked(measure: str, step: timedelta, series: str | None) -> dict[str, Any]:
    """t, layer, series, value: bars over time, batch below speed; with a series its values are the colours and speed is
    the lighter part of each."""
    end = f"datum.t + {int(step.total_seconds() * 1000)}"
    encoding: dict[str, Any] = {
        "x": {**_X, "field": "t", "bandPosition": 0},
        "x2": {"field": "end"},
        "y": {**_AMOUNT, "field": "value", "aggregate": "sum", "title": measure, "stack": "zero"},
        "color": {"field": "layer", "type": "nominal", "scale": _LAYER},
        "order": {"field": "rank"},
        "tooltip": [_TIME_TIP, *_tips(("layer", "layer"), ("value", measure))],
    }
    if series:
        encoding["color"] = _SERIES
        encoding["opacity"] = {
            "field": "layer",
            "type": "nominal",
            "scale": {"domain": ["batch", "speed"], "range": [1, 0.45]},
        }
        encoding["tooltip"] = [_TIME_TIP, *_tips(("series", series), ("layer", "layer"), ("value", measure))]
    return {
        "height": HEIGHT,
        "config": _LOOK,
        "transform": [
            {"calculate": end, "as": "end"},
            {"calculate": "(datum.layer == 'speed' ? 'b' : 'a') + datum.series", "as": "rank"},
        ],
        "mark": {"type": "bar", "binSpacing": 1},
        "encoding": encoding,
    }


def ranking(measure: str, series: str) -> dict[str, Any]:
    """series, layer, value: one bar a series, batch first, then speed."""
    return {
        "height": HEIGHT,
        "config": _LOOK,
        "mark": {"type": "bar", "cornerRadius": 1},
        "encoding": {
            "y": {"field": "series", "type": "nominal", "sort": None, "title": None, "axis": {"labelLimit": 140}},
            "x": {**_AMOUNT, "field": "value", "title": measure},
            "color": {"field": "layer", "type": "nominal", "scale": _LAYER},
            "tooltip": _tips(("series", series), ("layer", "layer"), ("value", measure)),
        },
    }


def lines(measure: str, series: str) -> dict[str, Any]:
    """t, series, merged, batch, speed: the merged value of each series; the layers' own numbers in the tooltip."""
    return {
        "height": HEIGHT,
        "config": _LOOK,
        "mark": {"type": "line", "strokeWidth": 2, "point": {"size": 14}},
        "encoding": {
            "x": {**_X, "field": "t"},
            "y": {**_AMOUNT, "field": "merged", "title": f"{measure}, merged"},
            "color": _SERIES,
            "tooltip": [
                _TIME_TIP,
                *_tips(("series", series), ("merged", "merged"), ("batch", "batch alone"), ("speed", "speed alone")),
            ],
        },
    }


def candles(price: str, step: timedelta) -> dict[str, Any]:
    """t, open, high, low, close, layer: a candle a point of time, in the colour of the layers that it comes from; a
    hollow one closed above its open."""
    layers = {"domain": ["batch", "both", "speed"], "range": [BATCH_COLOUR, MERGED_COLOUR, SPEED_COLOUR]}
    y = {**_AMOUNT, "title": price, "scale": {"zero": False}}
    colour = {"field": "layer", "type": "nominal", "scale": layers}
    names = ("open", "high", "low", "close")
    tips = [{"field": name, "type": "quantitative", "format": ",~f", "title": name} for name in names]
    rises = {"test": "datum.close >= datum.open", "value": 0.2}
    return {
        "height": HEIGHT,
        "config": _LOOK,
        "transform": [{"calculate": f"datum.t + {int(step.total_seconds() * 800)}", "as": "end"}],
        "encoding": {
            "x": {**_X, "field": "t", "bandPosition": 0},
            "color": colour,
            "tooltip": [_TIME_TIP, *tips, *_tips(("layer", "layer"))],
        },
        "layer": [
            {
                "transform": [{"calculate": f"datum.t + {int(step.total_seconds() * 400)}", "as": "middle"}],
                "mark": "rule",
                "encoding": {"x": {**_X, "field": "middle"}, "y": {**y, "field": "low"}, "y2": {"field": "high"}},
            },
            {
                "mark": {"type": "rect", "strokeWidth": 1},
                "encoding": {
                    "x2": {"field": "end"},
                    "y": {**y, "field": "open"},
                    "y2": {"field": "close"},
                    "fillOpacity": {"condition": rises, "value": 1},
                    "stroke": {**colour, "legend": None},
                },
            },
        ],
    }


def three_numbers(measure: str, series: str) -> dict[str, Any]:
    """series, merged, batch, speed: three bars beside each other, since they do not add up."""
    names = ["merged", "batch", "speed"]
    return {
        "height": HEIGHT,
        "config": _LOOK,
        "transform": [{"fold": names, "as": ["layer", "value"]}],
        "mark": {"type": "bar", "cornerRadius": 1},
        "encoding": {
            "y": {"field": "series", "type": "nominal", "sort": None, "title": None, "axis": {"labelLimit": 140}},
            "yOffset": {"field": "layer", "type": "nominal", "sort": names},
            "x": {**_AMOUNT, "field": "value", "title": measure},
            "color": {
                "field": "layer",
                "type": "nominal",
                "scale": {"domain": names, "range": [MERGED_COLOUR, BATCH_COLOUR, SPEED_COLOUR]},
            },
            "tooltip": _tips(("series", series), ("layer", "layer"), ("value", measure)),
        },
    }
