"""``gsa inspect``: what a folder holds, whether it is undamaged, and what its episodes look like."""

from pathlib import Path
from typing import Annotated

import typer

from gsa.errors import ParamsError
from stages.options import output_file


def inspect(
    path: Annotated[Path, typer.Argument(help="A data, model, index or run folder, or a folder of those.")],
    verify: Annotated[bool, typer.Option("--verify", help="Check every checksum.")] = False,
    sheet: Annotated[Path | None, typer.Option(help="Write a PNG of the episodes' first images here.")] = None,
    video: Annotated[Path | None, typer.Option(help="Write an MP4 of one episode here.")] = None,
    episode: Annotated[
        int | None, typer.Option(min=0, help="Which episode the video shows; needs --video [default: 0].")
    ] = None,
) -> None:
    """Say what a folder holds and what made it."""
    from gsa.inspection.folders import describe, first_images, one_episode, under_way
    from gsa.inspection.folders import verify as verify_folder
    from gsa.runs.claims import check_new_file, new_file
    from gsa.visual.pictures import contact_sheet

    output_file("--sheet", sheet, ".png")
    output_file("--video", video, ".mp4")
    if episode is not None and video is None:
        raise ParamsError(f"--episode {episode} says which episode --video shows; give --video too, or leave it out")
    number = episode or 0
    for picture in (sheet, video):
        if picture is not None:
            check_new_file(picture, path)
    found = under_way(path)
    if found != path:
        typer.echo(f"{path} is under way, or was stopped and resumes by the same command; its scores so far:")
    for line in describe(found):
        typer.echo(line)
    if verify:
        for line in verify_folder(path):
            typer.echo(line)
    if sheet is not None:
        from matplotlib.image import imsave

        images = first_images(path)
        with new_file(sheet, path) as tmp:
            imsave(tmp, contact_sheet(images))
        typer.echo(f"wrote the first images of {len(images)} episodes to {sheet}")
    if video is not None:
        from gsa.visual.pictures import write_video

        chosen = one_episode(path, number)
        with new_file(video, path) as tmp:
            write_video(tmp, (image.transpose(1, 2, 0) for image in chosen.image))
        typer.echo(f"wrote episode {number}, {len(chosen)} images, to {video}")
