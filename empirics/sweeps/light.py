"""Light runs: a run folder without its bulk, packed into a few files that travel from one machine to another.

What is left out, and named in the folder's ``left_out.json``: weights, generations, and the training set, which follows
from rule, N and seed. Config, evaluations and result stay as they are, bound by their digests, so that a light run is
read, reported and fitted like any other. A run that has not ended may take its training state along, losslessly
compressed, and is continued from there to the same evaluations.
"""

from __future__ import annotations

import hashlib
import io
import re
import shutil
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from ...theory import rule
from ..data import training_set
from ..runs.checkpoints import checkpoint_path
from ..runs.files import digest_path, write_atomically, write_json, write_symbols
from ..runs.foreign_files import DamagedFile, own_folder, printable, read_regular
from ..runs.lock import hold
from ..runs.run import LEFT_OUT, Run, load_run
from .folders import quarantine

LARGEST = 16_000_000
"""Bytes that a file of an archive may have by default."""
PART = 4_000_000
"""Bytes of a part of a packed state."""

_KEPT = ("config.json", "hardware.json", "metrics.jsonl", "result.json")
_MEMBER = re.compile(
    r"runs/(?P<run>[A-Za-z0-9][A-Za-z0-9=+,._-]*)/(?P<file>[a-z]+\.jsonl?|state-\d{10,13}\.part\d{3})"
    r"|figures/(?P<preset>[A-Za-z0-9_-]+)/(?P<figure>fig\d\d)/(?P<table>[A-Za-z0-9_]+\.(parquet|json))"
)
_LARGEST_MEMBER = 2**26
_LARGEST_STATE = 2**32

Members = dict[str, bytes]
"""Contents of an archive by name: runs/NAME/FILE, and figures/PRESET/figNN/TABLE."""


def light_run(run: Run, state: bool = False) -> Members:
    """The files of a run without its bulk; with its newest training state in parts, where asked for and there."""
    prefix = f"runs/{run.path.name}"
    members = {f"{prefix}/{name}": (run.path / name).read_bytes() for name in _KEPT if (run.path / name).exists()}
    if state and run.state_steps:
        step = run.state_steps[-1]
        packed = squeeze(checkpoint_path(run.path, "state", step).read_bytes())
        for part, begin in enumerate(range(0, len(packed), PART)):
            members[f"{prefix}/state-{step:010d}.part{part:03d}"] = packed[begin : begin + PART]
    return members


def unpack_runs(members: Members, folder: Path) -> list[str]:
    """Lay out light runs in a folder; a run that is there already, as far or further, stays as it is; one that is
    behind is moved to the folder's quarantine.

    Returns:
        The names of the runs that were brought.

    Raises:
        DamagedFile: a run's files do not hold together; nothing of it stays.
        FolderInUse: the run is being trained here.
    """
    runs: dict[str, dict[str, bytes]] = {}
    for name, content in members.items():
        if name.startswith("runs/"):
            _, run, file = name.split("/")
            runs.setdefault(run, {})[file] = content
    brought = []
    for name, files in runs.items():
        fresh = not (folder / name).exists()
        try:
            if _lay_out(folder / name, files):
                brought.append(name)
        except DamagedFile:
            if fresh:
                shutil.rmtree(folder / name, ignore_errors=True)
            raise
    return brought


def write_archives(folder: Path, members: Members, name: str = "results", most: int = 8, largest: int = LARGEST) -> int:
    """Write members into NAME-1.zip, NAME-2.zip, .., replacing those of before; how many files there are.

    Raises:
        ValueError: they do not fit into `most` files of `largest` bytes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    bins: list[dict[str, bytes]] = []
    sizes: list[int] = []
    packed = {key: _deflated(key, content) for key, content in members.items()}
    for key in sorted(packed, key=lambda key: -packed[key]):
        size = packed[key]
        fitting = [k for k, used in enumerate(sizes) if used + size <= largest]
        if not fitting:
            bins.append({})
            sizes.append(100)
            fitting = [len(bins) - 1]
        bins[fitting[0]][key] = members[key]
        sizes[fitting[0]] += size
    if len(bins) > most or any(size > largest for size in sizes):
        raise ValueError(f"{sum(sizes):,} bytes do not fit into {most} files of {largest:,} bytes; keep fewer states")
    for number, content in enumerate(bins, start=1):
        write_atomically(folder / f"{name}-{number}.zip", _zipped(content))
    for old in folder.glob(f"{name}-*.zip"):
        number_of = old.stem.rpartition("-")[2]
        if number_of.isdecimal() and int(number_of) > len(bins):
            old.unlink()
    return len(bins)


def read_archives(paths: Iterable[Path]) -> Members:
    """The members of archives, of files or of all in a folder.

    Raises:
        DamagedFile: a file that is no such archive, or that holds something else.
    """
    members: Members = {}
    for path in paths:
        for file in sorted(path.glob("*.zip")) if path.is_dir() else [path]:
            members |= dict(_members(file))
    return members


def squeeze(content: bytes) -> bytes:
    """Lossless compression for float32 numbers: the first bytes of all of them, then the second, .., deflated."""
    padded = np.frombuffer(content + bytes(-len(content) % 4), np.uint8).reshape(-1, 4)
    return len(content).to_bytes(8, "little") + zlib.compress(np.ascontiguousarray(padded.T).tobytes(), 6)


def expand(packed: bytes) -> bytes:
    """What `squeeze` was given; ValueError for anything else."""
    size = int.from_bytes(packed[:8], "little")
    if not 0 <= size <= _LARGEST_STATE:
        raise ValueError("a training state of an absurd size")
    decoder = zlib.decompressobj()
    planes = decoder.decompress(packed[8:], size + 4)
    if not decoder.eof or len(planes) != size + -size % 4:
        raise ValueError("a training state that was cut short or altered")
    return np.ascontiguousarray(np.frombuffer(planes, np.uint8).reshape(4, -1).T).tobytes()[:size]


def _lay_out(folder: Path, files: dict[str, bytes]) -> bool:
    """Write the files of one run; whether there was nothing as good."""
    state = sorted(name for name in files if name.startswith("state-"))
    ended = "result.json" in files
    if (folder / "config.json").exists():
        there = load_run(folder)
        step = int(state[0].partition(".")[0].removeprefix("state-")) if state else 0
        if there.ended or (not ended and (there.state_steps or [0])[-1] >= step):
            return False
        with hold(folder):  # FolderInUse where it is being trained
            quarantine(folder)
    if "config.json" not in files:
        raise DamagedFile(f"the run {folder.name} comes without its config.json")
    for part in ("checkpoints", "samples"):
        own_folder(folder / part, make=True)
    for name in _KEPT[1:]:
        if name in files:
            write_atomically(folder / name, files[name])
    left_out = ["samples", "weights", *(["training_set"] if ended else [])]
    write_json(folder / LEFT_OUT, {"left_out": left_out})
    write_atomically(folder / "config.json", files["config.json"])
    run = load_run(folder)  # refuses what does not hold together
    if not ended:
        config = run.config
        known = rule(config.rule)
        x = training_set(known, config.n_train, config.seed)
        write_symbols(folder / "training_set.npz", x.numpy(), known.alphabet)
    if state and not ended:
        try:
            content = expand(b"".join(files[name] for name in state))
        except (ValueError, zlib.error) as fault:
            raise DamagedFile(f"{printable(folder)}: {fault}") from None
        path = folder / "checkpoints" / f"{state[0].partition('.')[0]}.safetensors"
        write_atomically(digest_path(path), hashlib.sha256(content).hexdigest().encode())
        write_atomically(path, content)
    return True


def _members(path: Path) -> Iterator[tuple[str, bytes]]:
    try:
        content = read_regular(path, 2**30)
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            for entry in archive.infolist():
                if not _MEMBER.fullmatch(entry.filename) or entry.file_size > _LARGEST_MEMBER:
                    raise DamagedFile(f"{printable(path)} holds {printable(entry.filename)[:80]}, which is no run's")
                yield entry.filename, archive.read(entry)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as fault:
        raise DamagedFile(f"{printable(path)} is no archive of runs ({fault})") from None


def _deflated(name: str, content: bytes) -> int:
    """Bytes that a member takes in an archive, with its two headers."""
    return (len(content) if ".part" in name else len(zlib.compress(content, 6)) + 20) + 2 * len(name) + 150


def _zipped(members: Members) -> bytes:
    """A zip of members without dates, so that the same members give the same bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in sorted(members):
            entry = zipfile.ZipInfo(name)  # of 1980
            entry.compress_type = zipfile.ZIP_STORED if ".part" in name else zipfile.ZIP_DEFLATED
            archive.writestr(entry, members[name])
    return buffer.getvalue()
