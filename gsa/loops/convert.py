"""Sources of episodes to one reward-free store with its data card. Every file is checked before it is used."""

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from gsa.config import ConvertParams
from gsa.episode import Episode
from gsa.errors import DataError
from gsa.files import write_atomic
from gsa.importers.base import Source
from gsa.inspection.data_card import CARD_JSON, CARD_MD, DataCard, card_markdown, write_sheet
from gsa.storage.store_writer import write_store


def convert(
    sources: Sequence[Source],
    out_dir: Path,
    params: ConvertParams,
    reject_bad: bool = False,
    advance: Callable[[int], None] = lambda episodes: None,
) -> dict[str, Any]:
    """Write the store and its data card; the result does not depend on the order of ``sources``.

    Args:
        sources: each with a name of its own.
        out_dir: a new or empty folder.
        params: layout of the store.
        reject_bad: leave a bad episode out and list it, with its reason, in manifest and card, instead of stopping.
        advance: told the number of episodes just done.

    Returns:
        The data card.

    Raises:
        DataError: nothing to convert, two sources of one name, sources rendered with different settings, or a bad
            file, named with row and reason.
    """
    sources = sorted(sources, key=lambda source: (source.facts["embodiment"], source.facts["name"]))
    if not sources:
        raise DataError("nothing to convert; run `gsa collect-data` first or pass --input")
    places: dict[str, Path] = {}
    for source in sources:
        name = source.facts["name"]
        if name in places:
            raise DataError(f"{places[name]} and {source.path} are both named {name}; rename one")
        places[name] = source.path
    _check_one_rendering(sources)
    card = DataCard()
    rejected: list[dict[str, str]] = []

    def episodes() -> Iterator[Episode]:
        for source in sources:
            for index, file in enumerate(source.files):
                try:
                    episode = source.read(index)
                except DataError as error:
                    if not reject_bad:
                        raise
                    rejected.append({"file": f"{source.facts['name']}/{file}", "reason": str(error)})
                else:
                    card.add(episode)
                    yield episode
                advance(1)

    manifest = write_store(episodes(), out_dir, params, rejected)
    summary = card.summary(out_dir, manifest)
    write_atomic(out_dir / CARD_JSON, json.dumps(summary, indent=1, allow_nan=False) + "\n")
    write_atomic(out_dir / CARD_MD, card_markdown(summary))
    write_sheet(out_dir)
    return summary


def _check_one_rendering(sources: Sequence[Source]) -> None:
    """Pictures of one agent must come from one image setting (shadows and edges move grey levels by 1 to 12)."""
    seen: dict[str, Path] = {}
    for source in sources:
        quality = (source.facts.get("render") or {}).get("quality")
        if quality is not None:
            seen.setdefault(quality, source.path)
    if len(seen) > 1:
        found = ", ".join(f"{path} with {quality}" for quality, path in seen.items())
        raise DataError(f"sources were rendered with different image settings: {found}; collect them with one")
