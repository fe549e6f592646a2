"""The data card: what a store holds, outcomes included. It is for people; nothing that learns reads it."""

from collections import defaultdict
from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np
import pandas as pd

from gsa.episode import IMAGE_SIZE, Episode
from gsa.storage.episode_store import EpisodeStore
from gsa.storage.schema import EPISODES, OUTCOMES, SHARDS
from gsa.storage.store_files import read_table
from gsa.tasks import TASKS
from gsa.visual.pictures import SHEET_COLUMNS, contact_sheet, spread

CARD_JSON = "card.json"
CARD_MD = "card.md"
SHEET = "first_images.png"
SATURATED = 0.99
"""An action entry this far from 0 counts as saturated."""

OUTCOME_COLUMNS = ("episode_return", "success")


class DataCard:
    """Feed it every episode, then ask for the summary."""

    def __init__(self) -> None:
        self._actions: dict[str, np.ndarray] = {}
        """Per embodiment and action dimension: the sums of actions, of their squares and of saturated ones."""

    def add(self, episode: Episode) -> None:
        """Count an episode's actions but the zero one of its last row; all else is read from the store's own tables."""
        values, body = episode.action[:-1].astype(np.float64), str(episode.info["embodiment"])
        sums = np.array([values.sum(0), (values**2).sum(0), (np.abs(values) >= SATURATED).sum(0)])
        self._actions[body] = sums + self._actions.get(body, 0.0)

    def summary(self, out_dir: Path, manifest: dict[str, Any]) -> dict[str, Any]:
        """Counts, bytes, actions and outcomes of the store just written at ``out_dir``, as JSON types."""
        table = read_table(out_dir / EPISODES).to_pandas(use_threads=False)
        table = table.merge(
            read_table(out_dir / OUTCOMES).to_pandas(use_threads=False), on="episode_id", validate="one_to_one"
        )
        table["quality"] = [_quality(row) for row in table.to_dict("records")]
        size: dict[str, int] = defaultdict(int)
        for name, facts in manifest["files"].items():
            if name.startswith(f"{SHARDS}/"):
                size[name.removeprefix(f"{SHARDS}/").rpartition("-")[0]] += facts["bytes"]
        embodiments = {}
        for name, group in table.groupby("embodiment"):
            rows = int(group["length"].sum())
            embodiments[str(name)] = {
                "episodes": len(group),
                "holdout_episodes": int((group["split"] == "holdout").sum()),
                "rows": rows,
                "action_dim": int(group["action_dim"].iloc[0]),
                "bytes_per_step": round(size[str(name)] / rows, 1),
                **_actions(self._actions[str(name)], rows - len(group)),
            }
        rows = manifest["rows"]
        return {
            "episodes": manifest["episodes"],
            "rows": rows,
            "bytes": sum(size.values()),
            "bytes_per_step": round(sum(size.values()) / rows, 1),
            "embodiments": embodiments,
            "sources": _groups(table, ["embodiment", "source", "task", "policy", "sigma"], *OUTCOME_COLUMNS),
            "by_sigma": _groups(table[table["sigma"].notna()], ["policy", "sigma"], *OUTCOME_COLUMNS),
            "by_quality": _groups(table, ["embodiment", "quality"]),
            "render": sorted(table["render"].unique()),
            "versions": sorted(table["versions"].unique()),
            "rejected": manifest["rejected"],
        }


def _actions(sums: np.ndarray, count: int) -> dict[str, list[float]]:
    """Per action dimension: mean, standard deviation and share of saturated entries of ``count`` actions."""
    mean, square, saturation = sums / count
    std = np.sqrt(np.maximum(square - mean**2, 0.0))
    values = {"action_mean": mean, "action_std": std, "action_saturation": saturation}
    return {key: [round(float(v), 6) for v in value] for key, value in values.items()}


def _groups(table: pd.DataFrame, by: list[str], *outcomes: str) -> list[dict[str, Any]]:
    """Episodes, rows and the mean of ``outcomes`` of each group; None where the data records none."""
    rows = []
    for _, group in table.groupby(by, dropna=False):
        values = group[by].to_dict("records")[0]  # a group has one value each
        named = {name: None if pd.isna(values[name]) else values[name] for name in by}
        means = {name: group[name].dropna().astype(float).mean() for name in outcomes}
        known = {name: None if pd.isna(mean) else round(float(mean), 4) for name, mean in means.items()}
        rows.append({**named, "episodes": len(group), "rows": int(group["length"].sum()), **known})
    return rows


def card_markdown(summary: dict[str, Any]) -> str:
    """The summary as a page."""
    heads = ["embodiment", "episodes", "held out", "rows", "actions", "bytes per row", "action std", "saturated"]
    bodies = [
        [
            *(name, e["episodes"], e["holdout_episodes"], e["rows"], e["action_dim"], e["bytes_per_step"]),
            *(f"{np.mean(e['action_std']):.2f}", f"{np.mean(e['action_saturation']):.1%}"),
        ]
        for name, e in summary["embodiments"].items()
    ]
    lines = [
        "# Data card",
        "",
        f"{summary['episodes']} episodes, {summary['rows']} rows, {summary['bytes'] / 1e6:.1f} MB "
        f"({summary['bytes_per_step']} bytes per row). No training code reads the returns and successes below.",
        "",
        *_table(heads, bodies),
    ]
    for key in ("sources", "by_sigma", "by_quality"):
        if records := summary[key]:
            lines += ["", *_table(list(records[0]), [list(record.values()) for record in records])]
    lines += ["", f"![First images, a row for each of {', '.join(summary['embodiments'])}]({SHEET})"]
    lines += ["", f"Image settings: {', '.join(summary['render'])}. Versions: {', '.join(summary['versions'])}."]
    lines += ["", f"Rejected files: {len(summary['rejected'])}"]
    lines += [f"- {entry['file']}: {entry['reason']}" for entry in summary["rejected"]]
    return "\n".join(lines) + "\n"


def _quality(row: dict[Any, Any]) -> str:
    """How well an episode went: success or failure, else the quarter of the task's full score that it reached."""
    if not pd.isna(row["success"]):
        return "success" if row["success"] else "failure"
    task = TASKS.get(str(row["task"]))
    if pd.isna(row["episode_return"]) or task is None or task.metric != "return":
        return "unknown"
    quarter = int(np.clip(4 * task.normalise(row["episode_return"]) // 1, 0, 3))
    return f"{25 * quarter} to {25 * quarter + 25}% of full score"


def write_sheet(folder: Path) -> None:
    """The contact sheet of the store in ``folder``: first images, a row per embodiment. Retrieval compares them."""
    store = EpisodeStore(folder)
    bodies = store.episodes["embodiment"].to_numpy()
    sheet = np.zeros((len(set(bodies)), SHEET_COLUMNS, IMAGE_SIZE, IMAGE_SIZE, 3), np.uint8)
    for row, body in zip(sheet, sorted(set(bodies)), strict=True):
        numbers = np.flatnonzero(bodies == body)
        chosen = numbers[spread(len(numbers), SHEET_COLUMNS)]
        row[: len(chosen)] = store.first_images(chosen).transpose(0, 2, 3, 1)
    matplotlib.image.imsave(folder / SHEET, contact_sheet(np.concatenate(sheet), SHEET_COLUMNS))


def _table(header: list[str], rows: list[list[Any]]) -> list[str]:
    lines = ["| " + " | ".join(header) + " |", "|" + " --- |" * len(header)]
    return lines + ["| " + " | ".join("" if cell is None else str(cell) for cell in row) + " |" for row in rows]
