"""A model file in the package, whole or in parts: large files are stored as parts and joined at first use.

    NAME.safetensors                     a file of at most 16 MB
    NAME.safetensors.part-00, -01, …     a larger one: its bytes in order, 16 MB to a part
    NAME.safetensors.parts.json          {"file", "bytes", "sha256": of the file, "parts": {name: sha256}}

The joined file is kept in the user's cache folder, under a name with its checksum, which is verified at every
use: a damaged copy is made anew, and where none can be kept the parts are joined in memory.

    python -m circuits.bundle FILE       puts a model file into circuits/assets, whole or in parts; bad input
                                         ends in one line on stderr and exit status 2
"""

import json
import os
import re
import sys
from glob import escape
from hashlib import sha256
from importlib.resources import as_file, files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import NoReturn

from circuits import checkpoints
from circuits.checkpoints import Checkpoint
from circuits.errors import InputError
from circuits.files import cache_folder, write_whole

#: bytes of a part at most
PART_BYTES = 16_000_000
ASSETS = files("circuits") / "assets"


def store(file: str | os.PathLike, folder: str | os.PathLike, part_bytes: int = PART_BYTES) -> list[Path]:
    """Store a model file of ours in a folder, whole if it fits into one part; what was written.

    What the folder held of that name in another form, or in more parts, is removed.

    Raises:
        InputError: no model file of ours, or a folder that cannot be written.
    """
    file, folder = Path(file), Path(folder)
    if file.suffix != ".safetensors":
        raise InputError(f"{file}: models are bundled as .safetensors; write one with 'othello-circuits export'")
    checkpoints.read(file)
    whole = folder / file.name
    if file.stat().st_size > part_bytes:
        written = split(file, folder, part_bytes)
        whole.unlink(missing_ok=True)
        return written
    content = file.read_bytes()
    with write_whole(whole) as temporary:
        temporary.write_bytes(content)
    (folder / _list_of(file.name)).unlink(missing_ok=True)
    _remove_parts(folder, file.name, but=set())
    return [whole]


def split(file: str | os.PathLike, folder: str | os.PathLike, part_bytes: int = PART_BYTES) -> list[Path]:
    """Write any file as parts and their list, which comes first in the answer; old parts beyond those are removed.

    Raises:
        InputError: no such file, no bytes to a part, over 100 parts, or a folder that cannot be written.
    """
    file, folder = Path(file), Path(folder)
    if part_bytes < 1:
        raise InputError(f"parts of {part_bytes} bytes: give at least 1")
    try:
        content = file.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {file}: {error.strerror or error}") from None
    pieces = [content[i : i + part_bytes] for i in range(0, len(content), part_bytes)]
    if not 0 < len(pieces) <= 100:  # the numbers of parts have two digits
        raise InputError(f"{file} makes {len(pieces)} parts of {part_bytes} bytes; give a size that makes 1 to 100")
    parts = {f"{file.name}.part-{i:02d}": piece for i, piece in enumerate(pieces)}
    about = {"file": file.name, "bytes": len(content), "sha256": sha256(content).hexdigest()}
    about["parts"] = {name: sha256(piece).hexdigest() for name, piece in parts.items()}
    # The list comes last: with the old one, new parts are refused.
    parts[_list_of(file.name)] = (json.dumps(about, indent=1) + "\n").encode()
    for name, piece in parts.items():
        with write_whole(folder / name) as temporary:
            temporary.write_bytes(piece)
    _remove_parts(folder, file.name, but=set(parts))
    *names, manifest = parts
    return [folder / manifest, *(folder / name for name in names)]


def join(folder: Traversable, name: str) -> bytes:
    """The content of a file that is stored in parts, every checksum verified.

    Raises:
        InputError: no list of parts or a list that cannot be read; a part that is missing or damaged; parts
            that do not make the whole.
    """
    about = _read_list(folder, name)
    pieces = []
    for part, checksum in about["parts"].items():
        try:
            piece = (folder / part).read_bytes()
        except OSError:
            raise InputError(f"{folder / part} is missing, one of {len(about['parts'])} parts of {name}") from None
        if sha256(piece).hexdigest() != checksum:
            raise InputError(f"{folder / part} is damaged: its checksum is not the one in {_list_of(name)}")
        pieces.append(piece)
    content = b"".join(pieces)
    if sha256(content).hexdigest() != about["sha256"]:
        raise InputError(f"the parts of {name} in {folder} are whole, and do not make the file of {_list_of(name)}")
    return content


def read(name: str, folder: Traversable, heads: int | None = None, act: str | None = None) -> Checkpoint:
    """The model ``NAME`` of a folder: one file, or parts that are joined.

    Raises:
        InputError: neither is there; as `join` and `checkpoints.read`.
    """
    file = f"{name}.safetensors"
    if (folder / file).is_file():
        with as_file(folder / file) as path:
            return checkpoints.read(path, heads, act)
    if not (folder / _list_of(file)).is_file():
        raise InputError(f"no model {name} in {folder}: neither {file} nor {_list_of(file)}")
    checksum = _read_list(folder, file)["sha256"]
    kept = cache_folder() / f"{name}-{checksum[:16]}.safetensors"
    content = _content(kept, checksum)
    if content is None:
        content = join(folder, file)
        try:
            with write_whole(kept) as temporary:
                temporary.write_bytes(content)
        except InputError:  # no place to keep it: it is joined at every use
            kept = Path(file)
    return checkpoints.from_bytes(content, kept, heads, act)


def _content(path: Path, checksum: str) -> bytes | None:
    """A file's content, if it can be read and has this checksum."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    return content if sha256(content).hexdigest() == checksum else None


def _list_of(name: str) -> str:
    return f"{name}.parts.json"


def _read_list(folder: Traversable, name: str) -> dict:
    path = folder / _list_of(name)
    try:
        about = json.loads(path.read_text("utf-8"))
        parts, checksum = about["parts"], about["sha256"]
        known = all(re.fullmatch(re.escape(name) + r"\.part-\d\d", part) for part in parts)
        good = known and parts and all(re.fullmatch("[0-9a-f]{64}", c) for c in (checksum, *parts.values()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        good = False
    if not good:
        raise InputError(f"{path} is no readable list of the parts of {name}")
    return about


def _remove_parts(folder: Path, name: str, but: set[str]) -> None:
    for old in folder.glob(f"{escape(name)}.part-[0-9][0-9]"):
        if old.name not in but:
            old.unlink()


def main() -> None:
    """``python -m circuits.bundle FILE``: see the top of the file."""
    if len(sys.argv) != 2:
        _refuse("usage: python -m circuits.bundle FILE (a model file of ours, named as the bundled model is)")
    try:
        for path in store(sys.argv[1], Path(__file__).parent / "assets", PART_BYTES):
            print(f"{path}  {path.stat().st_size:,} bytes")
    except InputError as error:
        _refuse(f"circuits.bundle: {error}")


def _refuse(message: str) -> NoReturn:
    print(" ".join(message.split()), file=sys.stderr)
    sys.exit(2)


if __name__ == "__main__":
    main()
