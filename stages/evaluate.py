"""``gsa evaluate``: the trained agent of a run plays again."""

from pathlib import Path
from typing import Annotated

import typer

from stages.options import PARAMS, ParamsFile, Plugin, Settings, import_plugin, output_file


def evaluate(
    run: Annotated[Path, typer.Argument(help="Folder of a finished run, e.g. runs/gsa_mw-reach_s0.")],
    episodes: Annotated[int | None, typer.Option(min=1, help="Episodes [default: as many as recorded].")] = None,
    video: Annotated[Path | None, typer.Option(help="Write an MP4 of the first episode here.")] = None,
    sets: Settings = None,
    plugin: Plugin = None,
    params: ParamsFile = PARAMS,
) -> None:
    """Let the agent of a run play again; the first episodes are those of its last evaluation: same seeds, same score.

    Nothing is written but the video, which replaces no file.
    """
    from gsa.config import parse_settings
    from gsa.loops.evaluate import play_again
    from gsa.runs.claims import check_new_file, new_file
    from gsa.visual.pictures import write_video

    output_file("--video", video, ".mp4")
    if video is not None:
        check_new_file(video, run)
    if plugin:
        import_plugin(plugin)
    row, recorded, played = play_again(run, params, episodes, parse_settings(sets or []))
    spread = f"{min(row.episode_returns):.4g} to {max(row.episode_returns):.4g}"
    typer.echo(f"{run}: score {row.score:.4g} over {row.num_episodes} episodes, returns {spread}")
    shared = min(row.num_episodes, recorded.num_episodes)
    same = row.episode_returns[:shared] == recorded.episode_returns[:shared]
    found = "the same episodes as recorded" if same else "NOT the recorded ones: other code, packages or machine"
    typer.echo(
        f"recorded: score {recorded.score:.4g} over {recorded.num_episodes} episodes; the first {shared} are {found}"
    )
    if video is not None:
        with new_file(video, run) as tmp:
            write_video(tmp, (image.transpose(1, 2, 0) for image in played[0].image))
        typer.echo(f"wrote the first episode, {len(played[0])} images, to {video}")
