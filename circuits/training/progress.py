"""What a person sees of a run, and the sums between two lines of its log."""

import math
import sys
import time

import torch
from torch import Tensor
from tqdm.auto import tqdm

#: figures whose name in the log is shorter
SHORT = {"kl_to_uniform_legal": "kl"}


class Meter:
    """Losses and gradient norms since the last line of the log; nothing waits for a GPU until they are read."""

    def __init__(self) -> None:
        self.losses: list[Tensor] = []
        self.norms: list[Tensor] = []
        self.steps: list[int] = []
        self.figures: dict[str, float] = {}
        self._checked = 0
        self._since: float | None = None

    def add(self, loss: Tensor, norm: Tensor, step: int) -> None:
        self.losses.append(loss)
        self.norms.append(norm.detach())
        self.steps.append(step)

    def not_finite(self) -> int | None:
        """The first step since the last look whose loss or gradient is no number."""
        fresh = slice(self._checked, None)
        if not self.steps[fresh]:
            return None
        both = torch.stack(self.losses[fresh]) + torch.stack(self.norms[fresh])
        bad = (~torch.isfinite(both)).nonzero().flatten().tolist()
        first = self.steps[self._checked + bad[0]] if bad else None
        self._checked = len(self.steps)
        return first

    def row(self, seconds: float, batch: int, uniform: bool) -> dict:
        """The means of the steps since the last call, and a new beginning."""
        # Those of a resumed state lie on the CPU.
        losses = torch.stack([x.cpu() for x in self.losses]).double()
        norms = torch.stack([x.cpu() for x in self.norms]).double()
        positions = self.figures.pop("positions", 0)
        shares = {SHORT.get(k, k): v / positions for k, v in self.figures.items()} if positions else {}
        since = self._since
        speed = len(self.steps) * batch / (seconds - since) if since is not None and seconds > since else None
        if not uniform:
            shares["kl"] = None
        row = {
            "loss": float(losses.mean()),
            "grad_norm": float(norms.mean()),
            "games_per_s": None if speed is None else round(speed, 1),
            **shares,
        }
        self.losses, self.norms, self.steps, self.figures = [], [], [], {}
        self._checked, self._since = 0, seconds
        return row

    def to_dict(self) -> dict:
        """For a state saved between two lines of the log."""
        return {
            "losses": [float(x) for x in self.losses],
            "norms": [float(x) for x in self.norms],
            "steps": self.steps,
        }

    @staticmethod
    def from_dict(values: dict) -> "Meter":
        meter = Meter()
        meter.losses, meter.norms = ([torch.tensor(x) for x in values[k]] for k in ("losses", "norms"))
        meter.steps = list(values["steps"])
        meter._checked = len(meter.steps)
        return meter


class Progress:
    """A live line on a terminal; elsewhere a plain line a minute. Both on stderr."""

    def __init__(self, games: int, done: int, shown: bool):
        self.games, self.done, self.shown = games, done, shown
        self.live = shown and sys.stderr.isatty()
        self._bar = None
        self._last = -math.inf

    def __enter__(self) -> "Progress":
        if self.live:
            layout = "{percentage:3.0f}% {bar} {n_fmt}/{total_fmt} games, {remaining} left{postfix}"
            self._bar = tqdm(total=self.games, initial=self.done, unit_scale=True, bar_format=layout, leave=False)
        self._began, self._first = time.monotonic(), self.done
        return self

    def __exit__(self, *_) -> None:
        if self._bar is not None:
            self._bar.close()

    def advance(self, games: int) -> None:
        self.done += games
        if self._bar is not None:
            self._bar.update(games)

    def show(self, row: dict) -> None:
        """The figures of a line of the log."""
        if not self.shown:
            return
        words = figures_in_words(row)
        if self._bar is not None:
            self._bar.set_postfix_str(words)
        elif time.monotonic() - self._last >= 60:
            self._last = time.monotonic()
            rate = (self.done - self._first) / max(self._last - self._began, 1e-9)
            left = max(self.games - self.done, 0) / rate / 60 if rate else math.inf
            line = f"{row['games']:,} of {self.games:,} games, {left:.0f} min left, {words}"
            say(line)


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def figures_in_words(row: dict) -> str:
    """A train or eval line as people read it."""
    parts = [f"{row['games_per_s']:.0f} games/s"] if row.get("games_per_s") else []
    parts.append(f"loss {row['loss']:.4f}")
    if row.get("illegal_top1") is not None:
        parts += [f"illegal top-1 {100 * row['illegal_top1']:.2f} %", f"mass {100 * row['illegal_mass']:.2f} %"]
    if row.get("kl") is not None:
        parts.append(f"KL {row['kl']:.4f}")
    return ", ".join(parts)
