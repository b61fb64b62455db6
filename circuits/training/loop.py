"""Train Othello-GPT: one loop for a laptop's CPU, a GPU, and several of them under ``torchrun``.

    for each step:  loss = objective of the next `batch` games (`circuits.training.lessons`), summed over positions and
                    divided by their number over all processes
                    gradients, summed over processes and clipped to norm `clip`
                    Muon / AdamW at the step's share of their peak rates (`circuits.training.optimisers`)

What a step computes depends on the configuration and the step's number alone (games are numbered, dropout is
seeded step by step), so a run that is stopped and resumed goes through the same losses as one that is not.
"""

import os
import platform
import time
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import torch

from circuits import checkpoints
from circuits.checkpoints import Checkpoint
from circuits.devices import describe, keep_freed_memory
from circuits.errors import InputError
from circuits.gpt import GPT
from circuits.hashing import mix64
from circuits.training import lessons, optimisers
from circuits.training.card import card, command_of
from circuits.training.config import TrainConfig
from circuits.training.crew import Crew, stop_signals
from circuits.training.evaluation import held_out_figures
from circuits.training.progress import Meter, Progress, say
from circuits.training.run_folder import RunFolder
from circuits.training.start import Marks, first_weights, games_of, settle, started_from, worth_compiling

#: seconds between saved states: what a kill loses at most
SAVE_SECONDS = 120.0
#: where in a run a line of the log was written
_AT = ("step", "games", "seconds")


class LossIsNoNumber(InputError):
    """A step whose loss or gradient is no number."""


@dataclass(frozen=True)
class Trained:
    """Where a run stands: ``finished`` or not, how many games it has been shown, its last held-out figures."""

    folder: Path
    finished: bool
    games: int
    seconds: float
    evaluation: dict

    @property
    def model(self) -> Path:
        """The finished model's file."""
        return self.folder / "model.safetensors"


def train(
    config: TrainConfig | None,
    out: str | os.PathLike,
    *,
    resume: bool = False,
    device: str = "cpu",
    minutes: float | None = None,
    compiled: bool | None = None,
    save_seconds: float = SAVE_SECONDS,
    progress: bool = False,
) -> Trained:
    """Train a model into a folder (see `circuits.training.run_folder`).

    Args:
        config: what to train; with ``resume`` None, or the same configuration as the run's.
        out: the run's folder; it must hold no run, unless ``resume``.
        resume: go on from the folder's last state, or from nothing where there is none yet.
        minutes: stop after this long with the state saved: one leg of a chain.
        compiled: compile the model with ``torch.compile``; None: on GPUs, and on CPUs for runs long enough to gain.
        progress: a live line on stderr.

    Raises:
        InputError: the folder holds a run already or is in use, a device that is not there, ``legal`` on games that
            are not uniformly random, a file to go on from that is of no use, a full disk.
        LossIsNoNumber: an InputError that names the step. The last checkpoint stays.
    """
    if minutes is not None and not minutes >= 0:
        raise InputError(f"minutes {minutes}: it must be a number of at least 0")
    folder = RunFolder(out)
    crew = Crew.join(device)
    with crew, folder if crew.leads else nullcontext():
        config = settle(config, folder, resume, crew)
        if resume and folder.model_path.exists():
            return _as_it_is(folder)
        run = _Run(config, folder, crew, compiled, progress)
        return run.go(minutes, save_seconds)


def _as_it_is(folder: RunFolder) -> Trained:
    """A finished run, from its log."""
    log = folder.read_log()
    figures = [{k: v for k, v in row.items() if k not in ("kind", *_AT)} for row in log if row["kind"] == "eval"]
    games, seconds = (max((row.get(name, 0) for row in log), default=0) for name in ("games", "seconds"))
    return Trained(folder.path, True, int(games), float(seconds), figures[-1] if figures else {})


class _Run:
    """One run in progress: model, optimisers, counters."""

    def __init__(self, config: TrainConfig, folder: RunFolder, crew: Crew, compiled: bool | None, progress: bool):
        self.config, self.folder, self.crew, self.device = config, folder, crew, crew.device
        self.step, self.seconds, self.best, self.worse, self.last_evaluation = 0, 0.0, None, 0, {}
        self.meter = Meter()
        tensors, counters = folder.load_state() if folder.state_path.exists() else (None, None)
        weights = None if tensors is None else {k[2:]: v for k, v in tensors.items() if k.startswith("w.")}
        if weights is None:
            weights = first_weights(config)
        weights = checkpoints.complete(config.full_shape, weights, str(folder.state_path))
        self.gpt = GPT.from_weights(config.full_shape, weights).to(self.device)
        self.learning = optimisers.learning(self.gpt, config)
        self.optimisers = optimisers.build(self.learning, config)
        self.source, self.held_out = games_of(config, self.device)
        if counters is not None:
            self._take(counters, {k[2:]: v for k, v in tensors.items() if k.startswith("o.")})
            self.about = folder.read_config()
        else:
            self.about = self._describe()
            if crew.leads:
                folder.write_config(self.about)
        if crew.leads and folder.log_path.exists():
            folder.cut_log(self.step)
        if compiled is None:
            compiled = worth_compiling(config, self.device)
        self.forward = torch.compile(self.gpt) if compiled else self.gpt
        if compiled and progress and crew.leads:
            say("compiling the model at the first step, which takes half a minute or so")
        if self.device.type == "cpu":
            keep_freed_memory()
        self.progress = Progress(config.games, self.games, shown=progress and crew.leads)

    @property
    def games(self) -> int:
        return self.step * self.config.batch

    def _describe(self) -> dict:
        return {
            "config": self.config.to_dict(),
            "command": command_of(self.config),
            "parameters": sum(p.numel() for p in self.gpt.parameters()),
            "learning": sum(p.numel() for p in self.learning.values()),
            "data": self.source.about,
            "started_from": started_from(self.config),
            "machine": describe(self.device) + (f" x {self.crew.size}" if self.crew.size > 1 else ""),
            "versions": {"torch": torch.__version__, "python": platform.python_version()},
            "begun": datetime.now(UTC).isoformat(timespec="seconds"),
        }

    # --- the loop -----------------------------------------------------------------------------------------------

    def go(self, minutes: float | None, save_seconds: float) -> Trained:
        config, began = self.config, time.monotonic()
        self.at_start, self.clock = self.seconds, began
        self._event("resumed" if self.step else "started")
        marks = [m for m in config.checkpoints() if m > self.games]
        evals = Marks(config.eval_every, self.games)
        saved, finished = began, self.step >= config.steps or self._patience_is_over()
        with stop_signals() as stopped, self.progress:
            while not finished:
                self._one_step()
                if self.step % config.log_every == 0 or self.step == config.steps:
                    self._log_train()
                at_mark, due = bool(marks) and self.games >= marks[0], evals.reached(self.games)
                if at_mark or due:
                    self._evaluate(config.eval_games, counts=due or not config.eval_every)
                    if at_mark:
                        marks = [m for m in marks if m > self.games]
                        self._keep_checkpoint()
                    if self._patience_is_over():
                        self._event("stopped early")
                        finished = True
                finished = finished or self.step >= config.steps
                now = time.monotonic()
                leg_over = minutes is not None and now - began >= 60 * minutes
                out = self.crew.agree(bool(stopped) or leg_over, now - saved >= save_seconds)
                if finished or any(out):
                    self._save_state()
                    saved = now
                if out[0] and not finished:
                    self._event("interrupted" if stopped else "leg ended")
                    break
        if finished:
            self._finish()
        return Trained(self.folder.path, finished, self.games, self._now(), self.last_evaluation)

    def _patience_is_over(self) -> bool:
        return 0 < self.config.patience <= self.worse

    def _now(self) -> float:
        """Seconds of training so far, over all legs."""
        return self.at_start + time.monotonic() - self.clock

    def _one_step(self) -> None:
        config = self.config
        games = self.source.batch(*self.crew.share(self.games, config.batch))
        self.gpt.set_dropout(config.dropout_at(self.step))
        _seed_dropout(config.seed, self.step, self.crew.rank)
        self.gpt.train()
        with self._autocast():
            logits = self.forward(games.inputs)
        count = self.crew.total(games.where(config.objective).sum().float())
        loss = lessons.total_loss(logits, games, config.objective) / count.clamp(min=1)
        loss.backward()
        if self.crew.size > 1:
            for parameter in self.learning.values():
                self.crew.total(parameter.grad)
        norm = torch.nn.utils.clip_grad_norm_(self.learning.values(), config.clip)
        optimisers.set_rates(self.optimisers, config.rate_factor(self.step))
        for optimiser in self.optimisers:
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
        self.step += 1
        self.meter.add(self.crew.total(loss.detach()), norm, self.step)
        if self.step % config.log_every == 0 or self.step == config.steps:
            self.meter.figures = lessons.figures(logits.detach(), games)
        if self.device.type == "cpu":
            self._check_finite()
        self.progress.advance(config.batch)

    def _autocast(self):
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.precision == "bf16")

    def _check_finite(self) -> None:
        """Stop at the first loss or gradient that is no number; the last saved state stays."""
        step = self.meter.not_finite()
        if step is None:
            return
        self._event("nan", at=step)
        kept = sorted(self.folder.path.glob("checkpoints/*"))
        last = f", from the start or with --init {kept[-1]}" if kept else ""
        again = f"begin again in another --out with a lower --lr{last}"
        raise LossIsNoNumber(f"step {step}: the loss or its gradient is no number; {again}")

    def _log_train(self) -> None:
        self._check_finite()
        row = {
            "kind": "train",
            **self._at(),
            "lr": self.config.rates[0] * self.config.rate_factor(self.step - 1),
            **self.meter.row(self._now(), self.config.batch, self.source.uniform),
        }
        self._write(row)
        self.progress.show(row)

    def _at(self) -> dict:
        return {"step": self.step, "games": self.games, "seconds": round(self._now(), 2)}

    def _event(self, what: str, **more) -> None:
        self._write({"kind": "event", **self._at(), "what": what, **more})

    def _write(self, row: dict) -> None:
        if self.crew.leads:
            self.folder.log(row)

    def _evaluate(self, n: int, counts: bool = False, of: int | None = None) -> None:
        """Held-out figures of the weights after ``of`` games (None: of now) into the log; one that ``counts`` tries
        the patience where the loss is no lower."""
        games = self.held_out[: min(n, len(self.held_out))]
        row = held_out_figures(self.gpt, games, self.config.objective)
        if not self.source.uniform:
            row["kl"] = None
        self.last_evaluation = row
        self._write({"kind": "eval", **self._at(), **({"games": of} if of else {}), **row})
        if self.best is not None and row["loss"] >= self.best["loss"]:
            self.worse += counts
            return
        self.worse, self.best = 0, {"loss": row["loss"], "games": self.games}
        if self.config.patience and self.crew.leads:
            checkpoints.write(self._checkpoint(), self.folder.path / "best.safetensors", torch.float32)

    # --- what is kept -------------------------------------------------------------------------------------------

    def _save_state(self) -> None:
        self._check_finite()
        if self.crew.leads:
            tensors = {f"w.{k}": v for k, v in self.gpt.to_weights().items()}
            tensors |= {f"o.{k}": v for k, v in optimisers.state_tensors(self.optimisers).items()}
            counters = {
                "config": self.config.to_dict(),
                "step": self.step,
                "seconds": self._now(),
                "best": self.best,
                "worse": self.worse,
                "evaluation": self.last_evaluation,
                "meter": self.meter.to_dict(),
            }
            self.folder.save_state(tensors, counters)
        self.crew.wait()

    def _take(self, counters: dict, slots: dict[str, torch.Tensor]) -> None:
        state = self.folder.state_path
        try:
            of = TrainConfig.from_dict(counters.get("config", self.config.to_dict())).settled()
            optimisers.restore(self.optimisers, slots)
            self.step, self.seconds = int(counters["step"]), float(counters["seconds"])
            self.best, self.worse, self.last_evaluation = counters["best"], counters["worse"], counters["evaluation"]
            self.meter = Meter.from_dict(counters["meter"])
        except (KeyError, TypeError, ValueError, AttributeError):
            raise InputError(f"{state} is damaged: it can't be gone on from") from None
        if of != self.config:
            raise InputError(f"{state} is of another run than {self.folder.config_path}: put its own back")

    def _checkpoint(self, name: str | None = None) -> Checkpoint:
        name = name or f"{self.folder.path.name}-{self.games}"
        made = card(self.config, name, self.about, self.games, self._now(), self.last_evaluation)
        return Checkpoint(self.config.full_shape, self.gpt.to_weights(), made, name)

    def _keep_checkpoint(self) -> None:
        if self.crew.leads:
            checkpoints.write(self._checkpoint(), self.folder.checkpoint_path(self.games))

    def _finish(self) -> None:
        """The final evaluation and the model; after an early stop the best one."""
        best, shown = self.folder.path / "best.safetensors", self.games
        if self.config.patience and best.exists():
            shown = self.best["games"]
            self.crew.wait()
            kept = checkpoints.read(best)
            with torch.no_grad():
                new = GPT.from_weights(kept.shape, kept.weights)
                for own, other in zip(self.gpt.parameters(), new.parameters(), strict=True):
                    own.copy_(other)
        self._evaluate(self.config.final_eval_games, of=shown)
        if self.crew.leads:
            model = self._checkpoint(self.folder.path.name)
            if shown < self.games:
                model.card["kept"] = f"the weights after {shown} games, where the held-out loss was lowest"
            checkpoints.write(model, self.folder.model_path, torch.float32)
        self._event("finished", kept=shown)


def _seed_dropout(seed: int, step: int, rank: int) -> None:
    state = mix64(mix64(torch.tensor(seed)) + step * 65_536 + rank)
    torch.manual_seed(int(state) & (1 << 63) - 1)
