"""The pairs of a causal page as its template wants them: two boards, what differs, how often."""

from typing import Any

from reports.boards import position_board
from reports.patching.pair_records import EndPosition, PairsRecord
from reports.records import Example
from reports.text import count, fixed, percent


def pairs_view(p: PairsRecord, metric: str) -> dict[str, Any]:
    """What the template's section on pairs shows."""
    e = p.example
    sides = [
        {
            "title": f"{name.capitalize()}: {metric} {fixed(end.metric, 2, sign=True)}",
            "note": f"{end.mover} moves next; last move {end.last}",
            "svg": position_board(drawn(end, e.ply), path=name),
            "moves": end.transcript,
        }
        for name, end in (("clean", e.clean), ("corrupt", e.corrupt))
    ]
    kinds = ", ".join(f"{count(n)} {name}" for name, n in p.kinds.items())
    lead = (
        f"{count(p.pairs)} pair{'s' if p.pairs != 1 else ''} of {count(p.games)} game{'s' if p.games != 1 else ''}: "
        f"{kinds}. They end at "
        + (f"ply {p.first_ply}" if p.first_ply == p.last_ply else f"plies {p.first_ply}–{p.last_ply}")
        + f" (mean {fixed(p.mean_ply, 1)}) and first differ at ply {fixed(p.mean_first_difference, 1)} on average; "
        f"{fixed(p.squares_differ, 1)} squares differ at the end, {fixed(p.newly_legal_clean, 1)} moves are legal in "
        f"the clean position only and {fixed(p.newly_legal_corrupt, 1)} in the corrupt one only."
    )
    return {
        "lead": lead,
        "source": p.source,
        "sides": sides,
        "example": f"Pair {e.number} ({e.kind}, ply {e.ply}), whose difference is nearest the mean. {e.differs}.",
        "head": ("literal", "in clean only", "in corrupt only"),
        "rows": [(x.literal, percent(x.clean_only), percent(x.corrupt_only)) for x in p.literals],
    }


def drawn(end: EndPosition, ply: int) -> Example:
    """A position as the board component wants it."""
    return Example(
        address="", ply=ply, activation=0.0, transcript=end.transcript, board=end.board, mover=end.mover,
        last=end.last, flipped=end.flipped, legal=end.legal, top_moves=(), holds=None,
    )  # fmt: skip
