"""What makes a good specimen? Short runs at equal compute, one thing changed at a time, looked at from inside.

    python benchmarks/ablate.py --out runs/ablation [--games 100000] [--only base dropout …]

Every run is of the size `nano` unless it changes the size, and as long as the base run in multiply-adds (weights and
attention), so that a larger model is shown fewer games. A run that was interrupted is gone on with; a finished one is
only read. Prints a table in Markdown: `benchmarks/SPECIMENS.md` holds one. One run takes three minutes on a quiet core,
and looking inside half a minute.
"""

import argparse
from pathlib import Path

import torch

from circuits import plain
from circuits.checkpoints import Shape
from circuits.errors import InputError
from circuits.training.config import SIZES, TrainConfig, shape_of
from circuits.training.loop import train
from circuits.training.run_folder import read_log
from probes.specimen import Specimen, examine

BASE = "nano"
#: of the base, under Muon
WEIGHT_DECAY = 0.02
#: name -> what differs from the base: sizes, then settings
RUNS: dict[str, tuple[dict, dict]] = {
    "base": ({}, {}),
    "sampled": ({}, {"objective": "sampled"}),
    "adamw": ({}, {"optimiser": "adamw"}),
    "adamw_lr3": ({}, {"optimiser": "adamw", "lr": 3e-3}),
    "muon_wd02": ({}, {"weight_decay": 0.2}),
    "dropout": ({}, {"dropout": 0.1}),
    "dropout_wd02": ({}, {"dropout": 0.1, "weight_decay": 0.2}),
    "dropout_first": ({}, {"dropout": 0.1, "dropout_until": 0.65, "weight_decay": 0.2}),
    "relu": ({"act": "relu"}, {}),
    "solu": ({"act": "solu"}, {}),
    "mlp8": ({"mlp": 1024}, {}),
    "deep": ({"layers": 8, "width": 96, "heads": 3}, {}),
    "shallow": ({"layers": 2, "width": 192, "heads": 6}, {}),
    "paper": ({}, {"objective": "sampled", "optimiser": "adamw", "dropout": 0.1}),
    "long": ({}, {"games": 4}),
}
WORDS = {
    "base": "nano, legal, Muon, weight decay 0.02, GELU, no dropout",
    "sampled": "sampled objective",
    "adamw": "AdamW at 0.001, weight decay 0.1",
    "adamw_lr3": "AdamW at 0.003, weight decay 0.1",
    "muon_wd02": "weight decay 0.2",
    "dropout": "dropout 0.1",
    "dropout_wd02": "dropout 0.1, weight decay 0.2",
    "dropout_first": "dropout 0.1 for 65 % of the run, weight decay 0.2",
    "relu": "ReLU",
    "solu": "SoLU",
    "mlp8": "MLP 8 x the width",
    "deep": "8 layers, 96 wide",
    "shallow": "2 layers, 192 wide",
    "paper": "the paper's: sampled, AdamW, dropout 0.1",
    "long": "four times the games",
}


def products(shape: Shape) -> int:
    """Multiply-adds of one token's forward pass, attention over a whole game included."""
    inner = shape.n_heads * shape.d_head
    layer = 4 * shape.d_model * inner + 2 * shape.d_model * shape.d_mlp + 2 * shape.n_ctx * inner
    return shape.n_layers * layer + shape.d_vocab * shape.d_model


def config_of(name: str, games: int) -> TrainConfig:
    sizes, settings = RUNS[name]
    shape = shape_of(BASE, **sizes)
    compute = games * settings.get("games", 1) * products(SIZES[BASE])
    batch = TrainConfig().batch
    shown = int(compute / products(shape) / batch) * batch
    if settings.get("optimiser") != "adamw":
        settings = {"weight_decay": WEIGHT_DECAY} | settings
    return TrainConfig(shape, final_eval_games=2000, **settings | {"games": shown})


def row(name: str, folder: Path, s: Specimen) -> str:
    held_out = [r for r in read_log(folder / "log.jsonl") if r["kind"] == "eval"][-1]
    best = max(range(len(s.mine_theirs)), key=lambda i: s.mine_theirs[i])
    counts = [sum(s.patterns["0.95"]["released"]), sum(s.patterns["0.9"]["strict"])]
    counts += [sum(s.one_fact[skill]) for skill in ("0.5", "0.9")]
    cells = [
        WORDS[name],
        f"{held_out['games'] / 1000:.0f} k",
        f"{100 * held_out['illegal_top1']:.2f}",
        f"{held_out['kl']:.3f}",
        f"{100 * s.mine_theirs[best]:.1f} (L{best})",
        f"{100 * s.black_white[best]:.1f}",
        *map(str, counts),
    ]
    return "| " + " | ".join(cells) + " |"


def main(out: Path, games: int, only: list[str]) -> None:
    unknown = set(only) - set(RUNS)
    if unknown:
        raise SystemExit(f"unknown run {min(unknown)}: they are {', '.join(RUNS)}")
    print("| run | games | illegal top-1, % | KL | mine/theirs, % | black/white, % | patterns .95, released "
          "| patterns .9, strict | fact skill > .5 | > .9 |")  # fmt: skip
    print("|---|" + "---:|" * 9)
    for name in only or RUNS:
        folder = out / name
        if not (folder / "model.safetensors").exists():
            train(config_of(name, games), folder, resume=True, progress=True)
        try:
            inside = Specimen.from_json(folder / "specimen.json")
        except InputError:
            inside = examine(plain.load(folder / "model.safetensors"), progress=name)
            inside.to_json(folder / "specimen.json")
        print(row(name, folder, inside), flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--games", type=int, default=100_000)
    parser.add_argument("--only", nargs="*", default=[])
    given = parser.parse_args()
    main(given.out, given.games, given.only)
