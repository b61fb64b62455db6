"""Sums over subsets of positions as products of bytes: exact, and fast where the processor multiplies bytes.

A subset is packed, one bit a position; an activation is three bytes a position, its value in steps of 1 / 8,355,711 of
the largest. What a subset's activations sum to where each literal holds is then three products of bytes::

    sum = 65536 (m·y2) L + 256 (m·y1) L + (m·y0) L,     n = (m·w) L

m: the subset, 0 or 1; y2, y1, y0: bytes from -128 to 127; w: how often a position counts; L: [position, literal], 0 or
1. All of it is integers, so a part taken from its whole leaves the other part exactly, and equal splits are equal.

Packed, positions are in chunks of `CHUNK`, and bit j of byte i of a chunk is its position j · CHUNK / 8 + i: unpacking
then is eight shifts of whole rows.
"""

import torch
from jaxtyping import Bool, Float64, Int, Int8, Int32, Int64, UInt8
from torch import Tensor

#: positions and subsets at a time: their four bytes are 4 MiB, about what stays in a core's cache
CHUNK = 4096
ROWS = 256
#: the largest number that three bytes from -128 to 127 make
LARGEST = 127 * (1 << 16) + 127 * (1 << 8) + 127


def chunks(n: int) -> int:
    return -(-n // CHUNK)


def pack(holds: Bool[Tensor, "n literal"]) -> UInt8[Tensor, "literal byte"]:
    """One bit a position; bits past the last position are 0."""
    n, literals = holds.shape
    out = torch.zeros(literals, chunks(n), CHUNK // 8, dtype=torch.uint8, device=holds.device)
    for chunk in range(chunks(n)):
        rows = holds[chunk * CHUNK : (chunk + 1) * CHUNK].view(torch.uint8)
        if len(rows) < CHUNK:
            rows = torch.cat([rows, rows.new_zeros(CHUNK - len(rows), literals)])
        planes = rows.view(8, CHUNK // 8, literals)
        octets = planes[0].clone()
        for bit in range(1, 8):
            octets |= planes[bit] << bit
        out[:, chunk] = octets.T
    return out.flatten(1)


def everywhere(n: int, device: torch.device) -> UInt8[Tensor, "1 byte"]:
    """All positions, packed."""
    return pack(torch.ones(n, 1, dtype=torch.bool, device=device))


def unpack(octets: UInt8[Tensor, "*batch byte"]) -> Int8[Tensor, "*batch position"]:
    """-1 where the bit is set, else 0; padded to whole chunks."""
    shifts = torch.arange(7, -1, -1, dtype=torch.uint8, device=octets.device)[:, None]
    planes = octets.unflatten(-1, (-1, 1, CHUNK // 8)) << shifts
    return planes.view(torch.int8).bitwise_right_shift_(7).flatten(-3)


def digits(
    y: Float64[Tensor, "neuron n"], weight: Int8[Tensor, "n"] | None = None
) -> tuple[Int8[Tensor, "chunk neuron 4 _"], Int64[Tensor, "neuron"]]:
    """Weight and three bytes of activations of mean 0: weight, y2, y1, y0, and 0 past the last position.

    Returns:
        bytes: by chunks; total: the sum of all positions, in steps.
    """
    neurons, n = y.shape
    whole = y if weight is None else y * weight
    steps = (whole * (LARGEST / whole.abs().amax(1, keepdim=True).clamp_min(1e-300))).round_()
    padded = torch.zeros(neurons, chunks(n) * CHUNK, dtype=torch.int32, device=y.device)
    padded[:, :n] = steps
    out = torch.zeros(chunks(n), neurons, 4, CHUNK, dtype=torch.int8, device=y.device)
    for place, (shift, rounding) in enumerate(((16, 0x8080), (8, 0x80), (0, 0)), 1):
        # As a byte the number wraps: what is left of it is its lowest byte, from -128 to 127.
        byte = (padded + rounding >> shift).to(torch.int8)
        out[:, :, place] = byte.unflatten(1, (-1, CHUNK)).transpose(0, 1)
    ones = torch.zeros(chunks(n) * CHUNK, dtype=torch.int8, device=y.device)
    ones[:n] = 1 if weight is None else weight
    out[:, :, 0] = ones.unflatten(0, (-1, 1, CHUNK))
    return out, steps.sum(1).long()


class Products:
    """The literals of some positions, to be summed over many subsets."""

    def __init__(self, holds: Bool[Tensor, "n literal"]):
        n, self.literals = holds.shape
        bytes_ = holds.view(torch.int8)
        self.chunks = [bytes_[first : first + CHUNK] for first in range(0, n, CHUNK)]
        last = self.chunks[-1]
        self.chunks[-1] = torch.cat([last, last.new_zeros(CHUNK - len(last), self.literals)])

    def sums(
        self, subsets: UInt8[Tensor, "row byte"], neuron: Int[Tensor, "row"], values: Int8[Tensor, "chunk neuron 4 _"]
    ) -> tuple[Int32[Tensor, "row literal"], Int[Tensor, "row literal"]]:
        """Of each subset of a neuron's positions, where each literal holds: how many, and the sum in steps."""
        n = torch.empty(len(subsets), self.literals, dtype=torch.int32, device=subsets.device)
        s = torch.empty(len(subsets), self.literals, dtype=torch.int64, device=subsets.device)
        for first in range(0, len(subsets), ROWS):
            rows = slice(first, min(first + ROWS, len(subsets)))
            total = self._sums(subsets[rows], neuron[rows], values)
            n[rows] = total[:, 0]
            s[rows] = (total[:, 1].long() << 16) + (total[:, 2].long() << 8) + total[:, 3]
        return n, s

    def _sums(self, subsets: Tensor, neuron: Tensor, values: Tensor) -> Int32[Tensor, "row 4 literal"]:
        subsets = subsets.unflatten(1, (-1, CHUNK // 8))
        total = torch.zeros(len(subsets) * 4, self.literals, dtype=torch.int32, device=subsets.device)
        bytes_ = torch.empty(len(subsets), 4, CHUNK, dtype=torch.int8, device=subsets.device)
        for chunk, literals in enumerate(self.chunks):
            torch.index_select(values[chunk], 0, neuron, out=bytes_)
            bytes_ &= unpack(subsets[:, chunk])[:, None]
            total += product(bytes_.view(-1, CHUNK), literals)
        return total.unflatten(0, (-1, 4))


def product(left: Int8[Tensor, "a b"], right: Int8[Tensor, "b c"]) -> Int32[Tensor, "a c"]:
    """The matrix product in integers. Without instructions for bytes, in float32, where sums of up to 2^24 are exact:
    128 · CHUNK is 2^19."""
    if left.device.type == "cpu" and torch.backends.cpu.get_cpu_capability().startswith("AVX512"):
        return torch._int_mm(left, right)
    with torch.autocast(left.device.type, enabled=False):
        return (left.float() @ right.float()).int()
