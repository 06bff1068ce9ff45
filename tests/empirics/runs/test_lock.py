"""One lock a run folder: one holder, who is named, and none that outlives its process."""

import multiprocessing
import os
import re
import signal
import subprocess
import sys
import time

import pytest

import twoclocks as tc
from twoclocks.empirics.runs.foreign_files import DamagedFile
from twoclocks.empirics.runs.lock import LOCK, FolderInUse, hold, is_held

CONFIG = tc.RunConfig(
    rule="parity:2x4,G=4", model="gpt-nano", n_train=8, steps=9, batch_size=8, n_eval=16, eval_first=4, eval_ratio=1.6
)


def test_a_lock_has_one_holder_and_leaves_nothing(tmp_path):
    folder = tmp_path / "run"
    assert not is_held(folder)
    with hold(folder):
        assert is_held(folder)
        with pytest.raises(FolderInUse, match=rf"in use: process {os.getpid()} on \S+ has trained there since 20"):
            hold(folder).__enter__()
        assert is_held(folder)
    assert not is_held(folder)
    assert list(folder.iterdir()) == []
    with hold(folder):
        pass


def test_a_holder_may_write_nonsense_of_itself(tmp_path):
    with hold(tmp_path):
        for text in (b"", b"{", b"[]", b'{"pid": "\\u001b[2J"}', b"x" * 10**5):
            (tmp_path / LOCK).write_bytes(text)
            with pytest.raises(FolderInUse, match="another process trains there") as fault:
                hold(tmp_path).__enter__()
            assert str(fault.value).isprintable()


def test_a_lock_ends_with_its_process_though_a_child_of_it_lives(tmp_path):
    """A fork inherits open files, and with them a lock of flock."""
    code = (
        "import os, sys, time; from pathlib import Path; from twoclocks.empirics.runs.lock import hold\n"
        "with hold(Path(sys.argv[1])):\n"
        "    child = os.fork()\n"
        "    if child == 0: time.sleep(60); os._exit(0)\n"
        "    print(child, flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    child = int(holder.stdout.readline())
    try:
        assert is_held(tmp_path)
        with pytest.raises(FolderInUse, match=f"process {holder.pid} on"):
            tc.train(CONFIG, tmp_path, resume=True, progress=False)
        holder.kill()
        holder.wait()
        os.kill(child, 0)  # alive
        assert not is_held(tmp_path)
        assert tc.train(CONFIG, tmp_path, progress=False).status == "finished"
    finally:
        os.kill(child, signal.SIGKILL)
        holder.stdout.close()


def test_whoever_waits_for_a_lock_that_is_removed_takes_a_new_one(tmp_path):
    """Two must never hold: one the file that was removed, one the file that came after."""
    with hold(tmp_path):
        handle = os.open(tmp_path / LOCK, os.O_RDWR)  # another process, just before it would lock
    with hold(tmp_path), pytest.raises(FolderInUse):
        hold(tmp_path).__enter__()
    os.close(handle)


@pytest.mark.parametrize("kind", ["link", "dangling", "pipe", "folder", "hard link"])
def test_nothing_is_written_through_what_is_planted_at_its_place(tmp_path, kind):
    victim, folder = tmp_path / "victim", tmp_path / "run"
    folder.mkdir()
    victim.write_text("mine")
    place = folder / LOCK
    if kind == "link":
        place.symlink_to(victim)
    elif kind == "dangling":
        place.symlink_to(tmp_path / "new")
    elif kind == "pipe":
        os.mkfifo(place)
    elif kind == "folder":
        place.mkdir()
    else:
        os.link(victim, place)
    with pytest.raises(DamagedFile, match=re.escape(str(place))):
        hold(folder).__enter__()
    assert victim.read_text() == "mine"
    assert not (tmp_path / "new").exists()


def train_in_a_process(folder, started, result):
    from dataclasses import replace

    try:
        started.set()
        run = tc.train(replace(CONFIG, steps=4000), folder, resume=True, progress=False)
        result.put(run.status)
    except ValueError as fault:
        result.put(str(fault))


@pytest.mark.slow
def test_a_second_resume_is_refused_and_the_first_unharmed(tmp_path):
    from dataclasses import replace

    context = multiprocessing.get_context("spawn")
    started, result = context.Event(), context.Queue()
    first = context.Process(target=train_in_a_process, args=(tmp_path / "run", started, result))
    first.start()
    started.wait(60)
    until = time.monotonic() + 60
    while not (tmp_path / "run" / "metrics.jsonl").exists():
        assert time.monotonic() < until
        time.sleep(0.05)
    with pytest.raises(FolderInUse, match=f"process {first.pid} on"):
        tc.train(replace(CONFIG, steps=4000), tmp_path / "run", resume=True, progress=False)
    assert result.get(timeout=300) == "finished"
    first.join()
    assert tc.load_run(tmp_path / "run").status == "finished"
