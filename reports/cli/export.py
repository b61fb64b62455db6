"""``othello-circuits export``: a model written for use elsewhere."""

from pathlib import Path
from typing import Annotated

import typer

from reports.cli.options import Act, Heads, Json, Model, RandomWeights, Seed, emit


def export(
    out: Annotated[Path, typer.Option(help="A new .safetensors or .pth file, or a folder for the Hugging Face hub.")],
    model: Model = None,
    format_: Annotated[
        str | None,
        typer.Option("--format", help="safetensors, transformerlens or hub (default: by what --out ends in)."),
    ] = None,
    dtype: Annotated[
        str | None, typer.Option(help="fp16 or fp32 (default: fp16 where that changes no weight).")
    ] = None,
    repository: Annotated[
        str | None, typer.Option("--repo", metavar="OWNER/NAME", help="Where the folder will be uploaded to.")
    ] = None,
    license_: Annotated[
        str | None, typer.Option("--license", help="For the hub: mit, cc-by-4.0, … (default: as the card says).")
    ] = None,
    random_weights: RandomWeights = False, seed: Seed = 0, heads: Heads = None, act: Act = None, as_json: Json = False,
) -> None:  # fmt: skip
    """Write a model as our safetensors, as a TransformerLens state dict, or as a folder to upload to the hub.

    Example: othello-circuits export --model mine.ckpt --out mine --repo me/mine

    The folder is uploaded with: hf upload me/mine mine

    A file that exists already is refused. So is a folder that holds anything but an earlier export.

    In Python: circuits.export.export(circuits.models.read_checkpoint("mine.ckpt"), "mine", repository="me/mine")
    """
    from dataclasses import asdict

    from circuits.export import export as write
    from circuits.models import read_checkpoint

    checkpoint = read_checkpoint(model, heads, act, seed if random_weights else None)
    if license_ is None and model is None and not random_weights:
        license_ = "mit"  # the bundled model comes under this project's licence
    made = write(checkpoint, out, format=format_, dtype=dtype, repository=repository, license=license_)
    result = asdict(made) | {"path": str(made.path), "notes": list(made.notes)}
    lines = [f"wrote {made.path}: {made.name}, {made.dtype}, {made.bytes / 1e6:.1f} MB, hash {made.hash}"]
    emit(result, as_json, "\n".join([*lines, *(f"  {note}" for note in made.notes)]))
