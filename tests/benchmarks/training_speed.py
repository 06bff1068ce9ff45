"""Training steps against peers of the same size: smalldiffusion's DiT and Hugging Face's GPT-2.

    make bench-training

One thread, D = 36, batch 128, the same training set. Ours and each peer run in two processes of their own that take
turns, so that neither inherits the other's memory settings and both see the same drift of the machine. Each peer is
timed in float32 and in bfloat16 autocast; the faster counts. A ratio is the median over turns of (peer's median / our
median). Needs the packages smalldiffusion and transformers. Writes results/training_speed.{json,md} beside this file.
"""

import argparse
import json
import multiprocessing
import statistics
import sys
import time
from pathlib import Path
from unittest.mock import MagicMock

import torch
import torch.nn.functional as F

import twoclocks as tc
from twoclocks.empirics.allocator import keep_freed_memory
from twoclocks.empirics.data import training_set
from twoclocks.empirics.engine import Engine
from twoclocks.empirics.runs.run import environment, resolve_encoding
from twoclocks.models import SIZES

RESULTS = Path(__file__).parent / "results"
RULE, BATCH, LR = "parity:6x6,G=3", 128, 1e-3
STEPS = {"nano": 12, "micro": 5, "mini": 3}  # a turn
TARGETS = {"nano": 1.6, "micro": 2.3, "mini": 2.8}


def ours(model, **options):
    config = tc.RunConfig(rule=RULE, model=model, batch_size=BATCH, n_train=4096, lr=LR, **options)
    rule = tc.rule(RULE)
    engine = Engine(config, rule, training_set(rule, 4096, 0), resolve_encoding(config, rule))
    return engine.advance


def peer_dit(size, bf16):
    sys.modules["torchvision"] = MagicMock()  # smalldiffusion's image data sets need it, its networks do not
    import smalldiffusion

    model = smalldiffusion.DiT(
        in_dim=6, channels=1, patch_size=1, depth=size.layers, head_dim=size.width // size.heads, num_heads=size.heads
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=LR)
    images = (2.0 * training_set(tc.rule(RULE), 4096, 0) - 1).view(-1, 1, 6, 6)

    def step():
        x = images[torch.randint(len(images), (BATCH,))]
        sigma, noise = torch.randn(BATCH, 1, 1, 1).exp(), torch.randn_like(x)
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            loss = model.get_loss(x, sigma, noise)
        loss.backward()
        optimizer.step()

    return step


def peer_gpt(size, bf16):
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(
        vocab_size=3, n_positions=37, n_embd=size.width, n_layer=size.layers, n_head=size.heads,
        resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, bos_token_id=2, eos_token_id=2,
    )  # fmt: skip
    model = GPT2LMHeadModel(config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=LR)
    train = training_set(tc.rule(RULE), 4096, 0)
    train = torch.cat([torch.full((len(train), 1), 2), train], 1)  # a begin token, as ours has

    def step():
        x = train[torch.randint(len(train), (BATCH,))]
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            logits = model(input_ids=x[:, :-1]).logits
            loss = F.cross_entropy(logits.flatten(0, 1).float(), x[:, 1:].flatten())
        loss.backward()
        optimizer.step()

    return step


def worker(pipe, side, model):
    """Serve turns: build every variant of one side, then time each when asked."""
    torch.set_num_threads(1)
    kind, _, name = model.partition("-")
    if side == "ours":
        keep_freed_memory()
        steps = {
            "bf16": ours(model, precision="bf16"),
            "bf16 compiled": ours(model, precision="bf16", compile=True),
            "fp32": ours(model, precision="fp32"),
        }
    else:
        build = peer_dit if kind == "dit" else peer_gpt
        steps = {"fp32": build(SIZES[name], False), "bf16 autocast": build(SIZES[name], True)}
    for step in steps.values():
        step(), step()
    pipe.send(flops_a_step(tc.build_model(model, tc.rule(RULE))))
    while pipe.recv():
        medians = {}
        for variant, step in steps.items():
            times = []
            for _ in range(STEPS[name]):
                start = time.perf_counter()
                step()
                times.append(time.perf_counter() - start)
            medians[variant] = 1e3 * statistics.median(times)
        pipe.send(medians)


def flops_a_step(model):
    """Operations in the products of one step, forward and backward: 6 a weight and token, or a weight and image."""
    flops = 0
    for name, weight in model.named_parameters():
        if weight.ndim == 2 and "position" not in name and "token" not in name:
            per_image = "modulation" in name or "noise" in name
            flops += 6 * weight.numel() * BATCH * (1 if per_image else 36)
    layers, _, width = SIZES[model_size(model)]
    return flops + 6 * layers * 2 * BATCH * 36 * 36 * width


def model_size(model):
    size = getattr(model, "net", model).size
    return next(name for name, known in SIZES.items() if known == size)


def product_rate(dtype, seconds=0.5):
    """GFLOP/s of a large square product on this core."""
    a, b = torch.randn(1024, 1024, dtype=dtype), torch.randn(1024, 1024, dtype=dtype)
    start, count = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        a @ b
        count += 1
    return 2 * 1024**3 * count / (time.perf_counter() - start) / 1e9


def measure(model, rounds):
    context = multiprocessing.get_context("spawn")
    pipes, processes = {}, []
    for side in ("ours", "peer"):
        pipes[side], theirs = context.Pipe()
        processes.append(context.Process(target=worker, args=(theirs, side, model), daemon=True))
        processes[-1].start()
    flops = {side: pipe.recv() for side, pipe in pipes.items()}["ours"]
    turns = []
    for _ in range(rounds):
        turn = {}
        for side, pipe in pipes.items():
            pipe.send(True)
            turn |= {f"{side} {variant}": ms for variant, ms in pipe.recv().items()}
        turns.append(turn)
    for process in processes:
        process.kill()
    middle = {variant: statistics.median(turn[variant] for turn in turns) for variant in turns[0]}
    best = {side: min((v for v in middle if v.startswith(side)), key=middle.get) for side in ("ours", "peer")}
    ratios = sorted(turn[best["peer"]] / turn[best["ours"]] for turn in turns)
    return {"model": model, "flops": flops, "ms": middle, "best": best, "ratios": ratios, "rounds": rounds}


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--models", nargs="+", default=[f"{k}-{s}" for s in STEPS for k in ("dit", "gpt")])
    options.add_argument("--rounds", type=int, default=7)
    asked = options.parse_args()
    torch.set_num_threads(1)
    peak = product_rate(torch.bfloat16)
    stored = RESULTS / "training_speed.json"
    rows = {row["model"]: row for row in json.loads(stored.read_text())["rows"]} if stored.exists() else {}
    rows |= {model: measure(model, asked.rounds) for model in asked.models}  # models not asked for keep their rows
    lines = [
        "# Training steps against peers",
        "",
        f"`python tests/benchmarks/training_speed.py`; one thread, D = 36, batch {BATCH}; medians over turns;",
        f"versions `{json.dumps(environment())}`.",
        "Peers: smalldiffusion's DiT, Hugging Face's GPT-2, each in fp32 and in bf16 autocast; the faster counts.",
        f"Share: operations in a step's products, of the {peak:.0f} GFLOP/s of one core in a 1024^3 bf16 product.",
        "",
        "| model | ours ms (best) | ours fp32 | peer fp32 | peer bf16 | ratio (range) | target | share of peak |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows.values():
        ms, best = row["ms"], row["best"]
        share = row["flops"] / (ms[best["ours"]] * 1e-3) / 1e9 / peak
        ratio = statistics.median(row["ratios"])
        lines.append(
            f"| {row['model']} | {ms[best['ours']]:.1f} ({best['ours'][5:]}) | {ms['ours fp32']:.1f} "
            f"| {ms['peer fp32']:.1f} | {ms['peer bf16 autocast']:.1f} "
            f"| {ratio:.2f} ({row['ratios'][0]:.2f} to {row['ratios'][-1]:.2f}, {row['rounds']} turns) "
            f"| {TARGETS[row['model'].partition('-')[2]]} | {share:.0%} |"
        )
        print(lines[-1], flush=True)
    RESULTS.mkdir(exist_ok=True)
    stored.write_text(
        json.dumps({"environment": environment(), "peak_gflops": peak, "rows": list(rows.values())}, indent=1) + "\n"
    )
    (RESULTS / "training_speed.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
