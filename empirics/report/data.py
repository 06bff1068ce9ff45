"""What a report's script draws from: every run and every evaluation as compact JSON, nothing left out.

A ratio is kept as 16-bit integer k, for k / 65534, so to within 8e-6; 65535 is a missing value. A loss is a float32.
The columns of all runs follow each other, base64; `grids` are the distinct lists of evaluation steps.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from ..criteria import CRITERIA
from ..onsets import CLOCKS
from ..runs.folder import RunsFolder
from ..runs.reading import config_kinds
from .findings import IDENTITY, Findings, Scaling, differing_fields, setting_fields, x_values

_RATIOS = tuple(f"{name}{end}" for name in ("rule_accuracy", "memorization") for end in ("", "_low", "_high"))
_MISSING = 65535


def payload(found: RunsFolder, findings: Sequence[Findings]) -> dict[str, Any]:
    """The data of a report, for `embed`.

    Args:
        found: the runs, index 0, 1, ..
        findings: of the same runs, whose index names them.
    """
    runs = found.runs
    varied = differing_fields(runs)
    numbers = ["n_train", "seconds", "chance", "steps_done", "evaluations"]
    numbers += [f"{name}_{end}" for name in CRITERIA for end in ("lower", "upper")]
    return {
        "runs": runs["run"].tolist(),
        # A seed as text: beyond 2^53 JavaScript's numbers are not exact.
        "texts": {name: _coded(runs[name]) for name in ("model", "rule", "status", "support_size", "seed")},
        "numbers": {name: _numbers(runs[name]) for name in numbers},
        "varied": {name: _coded(runs[name].map(setting_text)) for name in varied},
        "settings": setting_fields(runs),
        "shared": shared_settings(runs),
        "environments": _coded(runs["environment"].fillna("{}")),
        "onsets": [[name, criterion.describe] for name, criterion in CRITERIA.items()],
        "clocks": list(CLOCKS),
        "curves": _curves(found),
        "figures": [figure(scaling, finding) for finding in findings for scaling in finding.scalings],
    }


def embed(value: Any) -> str:
    """JSON for a script element: nothing in it can end the element, whatever the strings say."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return text.replace("<", r"\u003c").replace(">", r"\u003e").replace("&", r"\u0026")


def shared_settings(runs: pd.DataFrame) -> dict[str, str]:
    """The RunConfig fields that all runs agree in."""
    varied = {*differing_fields(runs), *IDENTITY}
    return {name: setting_text(runs[name].iloc[0]) for name in config_kinds() if name not in varied}


def setting_text(value: Any) -> str:
    """The value of a RunConfig field as shown."""
    if value is None:
        return "none"
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    return f"{value:.12g}" if isinstance(value, float) else str(value)


def natural(text: str) -> list[tuple[int, str]]:
    """A sort key by which G=9 comes before G=12."""
    return [(int(part) if part.isdecimal() else -1, part) for part in re.split(r"(\d{1,40})", text)]


def figure(scaling: Scaling, finding: Findings) -> dict[str, Any]:
    """Points, lines and bands of a scaling law, a panel per model; upper end -1 is infinite.

    A point is [x, lower, upper, run]; a line is [x, ..], [y, ..], and a band's [low, ..], [high, ..] if it has one.
    """
    table, fit = finding.runs, scaling.fit
    x = x_values(table, scaling.x)
    ends = (table[f"{scaling.onset}_lower"], table[f"{scaling.onset}_upper"])
    data = table.assign(_x=x, _lower=ends[0], _upper=ends[1])[np.isfinite(x)]
    label = scaling.by[1]
    panels = []
    for model, part in sorted(data.groupby("model"), key=lambda item: natural(str(item[0]))):
        series = []
        for name, mine in sorted(part.groupby(label), key=lambda item: natural(str(item[0]))):
            points = [
                [float(at), float(low), float(high) if np.isfinite(high) else -1, int(run)]
                for run, at, low, high in zip(mine.index, mine["_x"], mine["_lower"], mine["_upper"], strict=True)
            ]
            line: list[list[float]] = []
            if fit is not None and (model, name) in fit.groups:
                low, high = mine["_x"].min(), mine["_x"].max()
                at = np.geomspace(low / 1.15, high * 1.15, 24)
                line = [_short(at), _short(fit.predict(at, (model, name)))]
                if not fit.at_resolution and len(fit.draws) >= 0.95 * fit.n_boot:
                    line += [_short(end) for end in fit.band(at, (model, name))]
            shown = f"N = {name}" if label == "n_train" else str(name)
            series.append({"name": shown, "points": points, "line": line})
        panels.append({"title": str(model), "series": series})
    labels = {"n_train": "training samples N", "G": "group size G"}
    return {"onset": scaling.onset, "x": labels[scaling.x], "panels": panels}


def _short(values: np.ndarray) -> list[float]:
    return [float(f"{value:.5g}") for value in values]


def _coded(column: pd.Series) -> dict[str, Any]:
    """Distinct texts in natural order, and for each run which of them it has."""
    texts = column.fillna("").astype(str)
    values = sorted(texts.unique(), key=natural)
    place = {value: k for k, value in enumerate(values)}
    return {"values": values, "codes": texts.map(place).tolist()}


def _numbers(column: pd.Series) -> list[float | None]:
    """Numbers with null for a missing one and -1 for infinity, whole ones as integers."""
    values = column.to_numpy(dtype=float, na_value=np.nan)
    return [None if np.isnan(v) else -1 if np.isinf(v) else int(v) if v.is_integer() else v for v in values.tolist()]


def _curves(found: RunsFolder) -> dict[str, Any]:
    counts = found.runs["evaluations"].to_numpy()
    total = int(counts.sum())
    steps = np.split(found.evaluations.get("step", np.empty(0)).astype(np.int64), counts.cumsum()[:-1])
    grids: dict[tuple[int, ...], int] = {}
    grid = [grids.setdefault(tuple(mine.tolist()), len(grids)) for mine in steps]
    columns = {}
    for name in _RATIOS:
        values = found.evaluations.get(name, np.full(total, np.nan))
        with np.errstate(invalid="ignore"):
            good = (values >= 0) & (values <= 1)
            kept = np.where(good, np.round(np.where(good, values, 0) * (_MISSING - 1)), _MISSING)
        columns[name] = _base64(kept.astype("<u2"))
    with np.errstate(over="ignore"):
        columns["loss"] = _base64(found.evaluations.get("loss", np.full(total, np.nan)).astype("<f4"))
    return {"grids": [list(key) for key in grids], "grid": grid, "columns": columns}


def _base64(values: np.ndarray) -> str:
    return base64.b64encode(values.tobytes()).decode()
