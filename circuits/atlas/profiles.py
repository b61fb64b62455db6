"""Head profiles (`circuits.heads`) as bytes and back: one safetensors file, numbers as JSON in its metadata."""

import json
from dataclasses import fields

from safetensors.torch import load, save
from torch import Tensor

from circuits.atlas.store import about_of
from circuits.head_attention import HeadAttention
from circuits.head_means import HeadMeans
from circuits.head_writing import HeadWriting
from circuits.heads import HeadProfiles

_PARTS = {"means": HeadMeans, "attention": HeadAttention, "writing": HeadWriting}


def to_bytes(profiles: HeadProfiles) -> bytes:
    """The same bytes for the same profiles."""
    tensors, numbers = {}, {}
    for part, kind in _PARTS.items():
        for field in fields(kind):
            value = getattr(getattr(profiles, part), field.name)
            (tensors if isinstance(value, Tensor) else numbers)[f"{part}.{field.name}"] = value
    return save({name: tensor.cpu().contiguous() for name, tensor in tensors.items()}, {"about": json.dumps(numbers)})


def of_bytes(data: bytes) -> HeadProfiles:
    """The inverse of `to_bytes`, of data whose checksum was looked at."""
    values = about_of(data)
    values |= {name: tensor.clone() for name, tensor in load(data).items()}
    parts = {
        part: kind(**{field.name: values[f"{part}.{field.name}"] for field in fields(kind)})
        for part, kind in _PARTS.items()
    }
    return HeadProfiles(**parts)
