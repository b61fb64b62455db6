"""Where a square's state is read and no other square's: directions in the span of a board probe's.

A probe's own direction of a square also reads a little of what goes along with it: the colours around it, how full the
board is. A neuron planted along it would follow these as well, and a claim about them would be no decoy. With z the
coordinates of the normalised stream on all of the probe's unit directions, f the facts of the board (colour +1 mine, -1
theirs, 0 empty; emptiness 0 or 1; of every square) and

    z = B f + c + e,   S = covariance of e          least squares on the probe's games

the weights w on z that respond by 1 to a change a of the facts, by nothing to other facts, and little to noise, are

    min_w  |B w - a|^2 + `NOISE` w' S w / s^2       s^2 the mean variance of e

With `NOISE` -> 0 they respond to nothing else at all, as far as the stream is wide enough to tell all facts apart.
"C0 mine" is half of C0's colour and half of its not being empty.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from circuits.board_readers import COLOUR, EMPTINESS, BoardReader
from circuits.errors import InputError
from circuits.notation import CENTRE
from circuits.rules import Literal, Not, Rule
from circuits.rules.bits import Packed

STATES = ("empty", "occupied", "mine", "theirs")
#: what the noise of a reading counts, beside how far it is off
NOISE = 1e-3


class PureReading:
    """Directions for literals on squares' states.

    Args:
        reader: a board probe; n: the normalised stream at positions; packed: these positions.
    """

    def __init__(self, reader: BoardReader, n: Float[Tensor, "n d_model"], packed: Packed):
        used = reader.defined.flatten()
        self._number = {int(place): i for i, place in enumerate(used.nonzero()[:, 0])}
        self._directions = reader.directions.flatten(0, 1)[used].double()
        facts = torch.stack([_fact(place, packed) for place in self._number], 1).double()
        held = torch.cat([facts, torch.ones(len(facts), 1, dtype=torch.float64)], 1)
        z = n.double() @ self._directions.T
        solved = torch.linalg.lstsq(held, z).solution
        left, self._B = z - held @ solved, solved[:-1]
        noise = left.T @ left / len(left)
        noise /= noise.diagonal().mean()
        self._weights = torch.linalg.solve(self._B.T @ self._B + NOISE * noise, self._B.T)

    def direction(self, literal: Rule) -> Float[Tensor, "d_model"]:
        """Responds by 1 to the literal's becoming true, and to no other square.

        Raises:
            InputError: it is not on a square's state now.
        """
        atom = literal.rule if isinstance(literal, Not) else literal
        if not isinstance(atom, Literal) or atom.back or atom.name not in STATES:
            raise InputError(
                f"{literal} cannot be planted: literals are a square that is empty, occupied, mine or theirs"
            )
        wanted = torch.zeros(len(self._number), dtype=torch.float64)
        colour, empty = 2 * atom.square + COLOUR, 2 * atom.square + EMPTINESS
        if atom.name in ("mine", "theirs"):
            wanted[self._number[colour]] = 0.5 if atom.name == "mine" else -0.5
            if empty in self._number:
                wanted[self._number[empty]] = -0.5
        elif atom.square in CENTRE:
            raise InputError(f"{literal} cannot be planted: a centre square is never empty")
        else:
            wanted[self._number[empty]] = 1.0 if atom.name == "empty" else -1.0
        on_z = self._weights @ wanted
        return (-on_z if isinstance(literal, Not) else on_z).float() @ self._directions.float()


def _fact(place: int, packed: Packed) -> Float[Tensor, "n"]:
    square, kind = divmod(place, 2)
    if kind == EMPTINESS:
        return packed.holds(Literal(square, "empty")).float()
    return packed.holds(Literal(square, "mine")).float() - packed.holds(Literal(square, "theirs")).float()
