"""An editor of a model's board: its probes as readers, with the means and contrast pairs that some methods need."""

import os
from hashlib import sha256
from pathlib import Path

from circuits.editing.changes import Ground
from circuits.editing.contrasts import contrast_pairs, contrasts
from circuits.editing.interventions import Editor
from circuits.editing.stream_means import FORMAT, GAMES, SEED, StreamMeans, stream_means
from circuits.errors import InputError
from circuits.othello_model import OthelloModel
from probes.sets import ProbeSet


def open_editor(
    model: OthelloModel,
    probes: ProbeSet,
    *,
    means: bool = True,
    contrast: bool = False,
    cache: str | os.PathLike | None = None,
    progress: bool = False,
) -> Editor:
    """An editor for a model.

    Args:
        probes: of this model; every board probe of all plies becomes a reader.
        means: take the stream's means over `GAMES` random games (about ten seconds; kept in ``cache``, a folder).
        contrast: search contrast pairs too (about a minute; not kept).

    Raises:
        InputError: probes of another model.
    """
    probes.check(model)
    readers = probes.board_readers(model.device)
    taken = _means(model, cache, progress) if means else None
    found = {}
    if contrast:
        posts = [hook for hook in readers if "resid_pre" not in hook]
        found = contrasts(model, contrast_pairs(), posts)
    return Editor(model, readers, Ground(taken, found))


def _means(model: OthelloModel, cache: str | os.PathLike | None, progress: bool) -> StreamMeans:
    key = sha256(repr((FORMAT, model.hash, SEED, GAMES)).encode()).hexdigest()[:16]
    path = Path(cache) / f"means-{key}.safetensors" if cache else None
    if path and path.is_file():
        try:
            return StreamMeans.load(path, model)
        except InputError:  # damaged: taken again
            pass
    taken = stream_means(model, progress="means of the stream" if progress else None)
    if path:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            taken.save(path)
        except (InputError, OSError):  # a cache that cannot be written costs time, not results
            pass
    return taken
