"""Probes of a model with random weights, the baseline: trained where none are given, and kept."""

from hashlib import sha256
from pathlib import Path

import probes
from circuits.errors import InputError
from circuits.games import generate
from circuits.othello_model import OthelloModel
from circuits.told import say, warn
from probes.sets import FORMAT, ProbeSet

#: random games that they are trained on
PROBE_GAMES = 2500


def probes_of_random_weights(model: OthelloModel, seed: int, cache: Path | None) -> ProbeSet:
    """Probes trained now on `PROBE_GAMES` random games, or those that an earlier call left in the cache folder."""
    games = generate(PROBE_GAMES, seed)
    key = sha256(repr((FORMAT, model.hash, games.fingerprint, seed)).encode()).hexdigest()[:16]
    path = cache and cache / f"probes-{key}.safetensors"
    if path and path.is_file():
        try:
            return ProbeSet.load(path, model)
        except InputError as error:
            warn(f"{error}; training again")
    say(f"{model.name}: no probes given, training some on {len(games)} random games")
    trained = probes.train(model, games, seed=seed, progress="training probes")
    if path:
        try:
            trained.save(path)
        except InputError as error:  # as above
            warn(f"{str(error).replace('--out', '--cache')} (these probes are not kept)")
    return trained
