"""Training steps a second of DiT-mini on a GPU: alone, several runs at once, and against smalldiffusion's DiT.

    python tests/gpu/speed.py --out speed.json

Grids 6x6 (36 tokens), batch 256, bf16. The peer, where the package smalldiffusion is installed: its DiT of the same
depth, heads and width as people run it, eager in bf16 autocast; and compiled, with CUDA graphs (mode reduce-overhead).
Ours and the peer take turns in one process; a rate is the median over turns, of steps timed by CUDA events or, for
several runs at once, by the clock up to a synchronisation. Needs a GPU; without one it says so and ends.
"""

import argparse
import json
import statistics
import sys
import threading
import time
from pathlib import Path
from unittest import mock

import torch

import twoclocks as tc
from twoclocks.empirics.data import training_set
from twoclocks.empirics.engine import Engine
from twoclocks.empirics.families import family
from twoclocks.empirics.runs.run import environment
from twoclocks.empirics.sweeps.side_by_side import new_stream, on_stream
from twoclocks.models import SIZES

RULE, BATCH, LR = "parity:6x6,G=3", 256, 3e-4
AIMS = {"alone": 800, "together": 1500, "eager": 5.0, "compiled": 1.3}


def ours(model="dit-mini", batch=BATCH, **options):
    config = tc.RunConfig(
        rule=RULE,
        model=model,
        batch_size=batch,
        n_train=4096,
        lr=LR,
        **{"device": "cuda", "precision": "bf16", **options},
    )
    rule = tc.rule(RULE)
    return Engine(config, rule, training_set(rule, 4096, 0), family(model).encoding(config, rule)).advance


def peer(compiled, device="cuda"):
    """A step of smalldiffusion's DiT of the size of DiT-mini."""
    sys.modules.setdefault("torchvision", mock.MagicMock())  # its image data sets need it, its networks do not
    import smalldiffusion

    size = SIZES["mini"]
    model = smalldiffusion.DiT(
        in_dim=6, channels=1, patch_size=1, depth=size.layers, head_dim=size.width // size.heads, num_heads=size.heads
    ).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=LR, fused=True)
    images = (2.0 * training_set(tc.rule(RULE), 4096, 0) - 1).view(-1, 1, 6, 6).to(device)
    loss_of = torch.compile(model.get_loss, mode="reduce-overhead") if compiled else model.get_loss

    def step():
        x = images[torch.randint(len(images), (BATCH,), device=device)]
        sigma, noise = torch.randn(BATCH, 1, 1, 1, device=device).exp(), torch.randn_like(x)
        optimizer.zero_grad()
        with torch.autocast(device, torch.bfloat16):
            loss = loss_of(x, sigma, noise)
        loss.backward()
        optimizer.step()

    return step


def rate(step, seconds=1.5):
    """Steps a second, by CUDA events, after a warm-up."""
    for _ in range(20):
        step()
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    steps, started = 0, time.perf_counter()
    begin.record()
    while time.perf_counter() - started < seconds:
        for _ in range(20):
            step()
        steps += 20
        torch.cuda.current_stream().synchronize()  # else the queue alone would be timed
    end.record()
    torch.cuda.synchronize()
    return 1e3 * steps / begin.elapsed_time(end)


def rate_together(runs, seconds=4.0):
    """Steps a second in all of several runs, each in a thread and on a stream of its own."""
    ready, counts, stop = threading.Barrier(runs + 1), [0] * runs, threading.Event()

    def work(number):
        with on_stream("cuda:0", new_stream("cuda:0")):
            step = ours(seed=number)
            for _ in range(20):
                step()
            torch.cuda.current_stream().synchronize()
            ready.wait()
            while not stop.is_set():
                for _ in range(20):
                    step()
                torch.cuda.current_stream().synchronize()
                counts[number] += 20

    threads = [threading.Thread(target=work, args=(number,), daemon=True) for number in range(runs)]
    for thread in threads:
        thread.start()
    ready.wait()
    started = time.perf_counter()
    time.sleep(seconds)
    stop.set()
    for thread in threads:
        thread.join()
    return sum(counts) / (time.perf_counter() - started)


def measure(turns):
    steps = {"ours": ours(), "ours compiled": ours(compile=True), "ours GPT-mini, batch 128": ours("gpt-mini", 128)}
    notes = []
    for name, compiled in (("peer eager", False), ("peer compiled", True)):
        try:
            steps[name] = peer(compiled)
            steps[name]()
        except Exception as fault:
            steps.pop(name, None)
            notes.append(f"{name}: {type(fault).__name__}: {str(fault).splitlines()[0] if str(fault) else ''}")
    rates = {name: [] for name in steps}
    for _ in range(turns):
        for name, step in steps.items():
            rates[name].append(rate(step))
    together = {str(runs): rate_together(runs) for runs in (1, 2, 4, 8)}
    medians = {name: statistics.median(values) for name, values in rates.items()}
    best = max(medians["ours"], medians["ours compiled"])
    ratios = {name.removeprefix("peer "): best / medians[name] for name in medians if name.startswith("peer")}
    return {
        "gpu": torch.cuda.get_device_name(),
        "steps_a_second": {n: {"median": medians[n], "least": min(v), "most": max(v)} for n, v in rates.items()},
        "together": together,
        "ratios": ratios,
        "aims": AIMS,
        "turns": turns,
        "notes": notes,
        "environment": environment(),
    }


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "speed.json")
    options.add_argument("--turns", type=int, default=3)
    asked = options.parse_args()
    if not torch.cuda.is_available():
        print("no GPU that CUDA finds: nothing to measure")
        return
    found = measure(asked.turns)
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    asked.out.write_text(json.dumps(found, indent=1) + "\n")
    for name, value in found["steps_a_second"].items():
        print(f"{name:<28}{value['median']:9.0f} steps/s ({value['least']:.0f} to {value['most']:.0f})")
    for runs, value in found["together"].items():
        print(f"{runs} runs at once{'':<14}{value:9.0f} steps/s in all")
    for name, value in found["ratios"].items():
        print(f"against the peer, {name:<10}{value:9.2f} times (aim {AIMS[name]})")
    for note in found["notes"]:
        print(f"not measured: {note}")


if __name__ == "__main__":
    main()
