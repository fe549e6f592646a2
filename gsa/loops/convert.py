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
from gsa.importers.inputs import reading
from gsa.inspection.data_card import CARD_JSON, CARD_MD, DataCard, card_markdown, write_sheet
from gsa.storage.raw import check_stored
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
        DataError: nothing to convert, two sources of one name, sources rendered with different settings, sources of
            one body with different names for an action's entries, or a bad file, named with row and reason.
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
    _check_one_body(sources)
    widths: dict[str, int] = {}
    card = DataCard()
    rejected: list[dict[str, str]] = []

    def episodes() -> Iterator[Episode]:
        for source in sources:
            for index, file in enumerate(source.files):
                try:
                    with reading(source.path / file):
                        episode = source.read(index)
                    _check_fits(episode, f"{source.path / file}", source.facts["embodiment"], widths)
                except DataError as error:
                    if not reject_bad:
                        raise
                    rejected.append({"file": f"{source.facts['name']}/{file}", "reason": str(error)})
                else:
                    card.add(episode)
                    yield episode
                advance(1)
        if len(rejected) == sum(len(source.files) for source in sources):
            raise DataError(f"all {len(rejected)} episodes are bad, the first: {rejected[0]['reason']}")

    manifest = write_store(episodes(), out_dir, params, rejected)
    summary = card.summary(out_dir, manifest)
    write_atomic(out_dir / CARD_JSON, json.dumps(summary, indent=1, allow_nan=False) + "\n")
    write_atomic(out_dir / CARD_MD, card_markdown(summary))
    write_sheet(out_dir)
    return summary


def _check_fits(episode: Episode, where: str, body: str, widths: dict[str, int]) -> None:
    """An episode keeps the layout and acts with as many entries as the body's first, whose width enters ``widths``."""
    check_stored(episode, where)
    width = episode.action.shape[1]
    if widths.setdefault(body, width) != width:
        raise DataError(
            f"{where}: action width {width}, but other {body} episodes have {widths[body]}; "
            "give it an embodiment of its own"
        )


def _check_one_body(sources: Sequence[Source]) -> None:
    """Sources of one body call the entries of an action alike, where they name them; equal width is not one body."""
    seen: dict[str, tuple[Path, list[str]]] = {}
    for source in sources:
        if names := source.facts.get("action_names"):
            path, first = seen.setdefault(source.facts["embodiment"], (source.path, names))
            if names != first:
                body = source.facts["embodiment"]
                raise DataError(
                    f"{source.path}: an action is {names}, in {path} of the same embodiment {body} {first}; "
                    "give each body an embodiment of its own"
                )


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
