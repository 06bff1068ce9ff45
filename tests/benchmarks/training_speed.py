"""Training steps against peers of the same size: smalldiffusion's DiT and Hugging Face's GPT-2.

    make bench-training

D = 36, batch 128, the same training set, one thread, timed in seconds of the processor. Ours and each peer run in two
processes of their own that take turns, so that neither inherits the other's memory settings and both see the same
drift of the machine. Each peer is timed in float32 and in bfloat16 autocast; the faster counts. Ours is what a default
RunConfig trains, in the precision that it finds for the processor. A ratio is the median over turns of (peer's median /
our median). All of it twice: with all that the processor has, and held to AVX2, as most laptops are. Where bfloat16 is
emulated, a step takes minutes: it is timed on a sixteenth of the batch and multiplied.
Needs the packages smalldiffusion and transformers. Writes results/training_speed.{json,md} beside this file.
"""

import argparse
import json
import multiprocessing
import os
import statistics
import sys
import time
from pathlib import Path
from unittest import mock

import torch
import torch.nn.functional as F

import twoclocks as tc
from twoclocks.empirics.allocator import keep_freed_memory
from twoclocks.empirics.data import training_set
from twoclocks.empirics.engine import Engine
from twoclocks.empirics.families import family
from twoclocks.empirics.hardware import has_native_bf16, processor_flags, resolve
from twoclocks.empirics.runs.run import environment
from twoclocks.models import SIZES

RESULTS = Path(__file__).parent / "results"
RULE, BATCH, LR = "parity:6x6,G=3", 128, 1e-3
FEW = BATCH // 16  # images a step where bfloat16 is emulated
STEPS = {"nano": 12, "micro": 5, "mini": 3}  # a turn
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
HELD = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"}
PATHS = {"all it has": {}, "held to AVX2": HELD}
TARGETS = {
    "all it has": {"nano": 1.6, "micro": 2.3, "mini": 2.8},
    "held to AVX2": {"nano": 1.6, "micro": 1.3, "mini": 1.2},
}


def ours(model, batch=BATCH, **options):
    config = tc.RunConfig(rule=RULE, model=model, batch_size=batch, n_train=4096, lr=LR, **options)
    rule = tc.rule(RULE)
    engine = Engine(config, rule, training_set(rule, 4096, 0), family(model).encoding(config, rule))
    return engine.advance


def peer_dit(size, bf16, batch=BATCH):
    sys.modules["torchvision"] = mock.MagicMock()  # smalldiffusion's image data sets need it, its networks do not
    import smalldiffusion

    model = smalldiffusion.DiT(
        in_dim=6, channels=1, patch_size=1, depth=size.layers, head_dim=size.width // size.heads, num_heads=size.heads
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=LR)
    images = (2.0 * training_set(tc.rule(RULE), 4096, 0) - 1).view(-1, 1, 6, 6)

    def step():
        x = images[torch.randint(len(images), (batch,))]
        sigma, noise = torch.randn(batch, 1, 1, 1).exp(), torch.randn_like(x)
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            loss = model.get_loss(x, sigma, noise)
        loss.backward()
        optimizer.step()

    return step


def peer_gpt(size, bf16, batch=BATCH):
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
        x = train[torch.randint(len(train), (batch,))]
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            logits = model(input_ids=x[:, :-1]).logits
            loss = F.cross_entropy(logits.flatten(0, 1).float(), x[:, 1:].flatten())
        loss.backward()
        optimizer.step()

    return step


def variants(side, model):
    """Ways to train a model, by name: a step of each, and by how much its time is to be multiplied."""
    native = has_native_bf16()
    times, batch = (1, BATCH) if native else (BATCH // FEW, FEW)
    if side == "ours":
        fast = "bf16" if native else "fp32"
        return {
            "fp32": (ours(model, precision="fp32"), 1),
            "bf16": (ours(model, batch, precision="bf16"), times),
            "default": (ours(model), 1),
            "compiled": (ours(model, precision=fast, compile=True), 1),
        }
    kind, _, name = model.partition("-")
    build = peer_dit if kind == "dit" else peer_gpt
    return {"fp32": (build(SIZES[name], False), 1), "bf16": (build(SIZES[name], True, batch), times)}


def worker(pipe, side, model):
    """Serve turns: build every variant of one side, then time each when asked."""
    torch.set_num_threads(1)
    if side == "ours":
        keep_freed_memory()
    steps = variants(side, model)
    native = has_native_bf16()
    for name, (step, _) in steps.items():
        for _ in range(2 if native or name != "bf16" else 1):
            step()
    pipe.send((flops_a_step(tc.build_model(model, tc.rule(RULE))), resolve(tc.RunConfig()).precision, processor()))
    while pipe.recv():
        turn = {}
        for name, (step, times) in steps.items():
            taken = []
            for _ in range(STEPS[model.partition("-")[2]] if times == 1 else 1):
                start = time.process_time()
                step()
                taken.append(time.process_time() - start)
            turn[f"{side} {name}"] = 1e3 * times * statistics.median(taken)
        if side == "ours":
            turn |= {f"peak {name}": product_rate(dtype) for name, dtype in DTYPES.items() if native or name == "fp32"}
        pipe.send(turn)


def processor():
    """The processor's name and those of its capabilities that matter here and that torch may use."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    held = os.environ.get("ATEN_CPU_CAPABILITY") == "avx2"
    known = ("avx2",) if held else ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "bf16")
    return " ".join([*names[:1], *(flag for flag in known if flag in processor_flags())])


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


def product_rate(dtype, seconds=0.3):
    """GFLOP/s of a large square product on this core."""
    a, b = torch.randn(1024, 1024, dtype=dtype), torch.randn(1024, 1024, dtype=dtype)
    out = a @ b
    start, count = time.process_time(), 0
    while time.process_time() - start < seconds:
        torch.mm(a, b, out=out)
        count += 1
    return 2 * 1024**3 * count / (time.process_time() - start) / 1e9


def measure(model, path, rounds):
    context = multiprocessing.get_context("spawn")
    pipes, processes = {}, []
    with mock.patch.dict(os.environ, PATHS[path]):  # read when torch is loaded: by the processes started here
        for side in ("ours", "peer"):
            pipes[side], theirs = context.Pipe()
            processes.append(context.Process(target=worker, args=(theirs, side, model), daemon=True))
            processes[-1].start()
        flops, default, flags = {side: pipe.recv() for side, pipe in pipes.items()}["ours"]
    turns = []
    for _ in range(rounds):
        turn = {}
        for pipe in pipes.values():
            pipe.send(True)
            turn |= pipe.recv()
        turns.append(turn)
    for process in processes:
        process.kill()

    def over_turns(value):
        values = sorted(value(turn) for turn in turns)
        return {"median": statistics.median(values), "least": values[0], "most": values[-1]}

    return {
        "model": model,
        "path": path,
        "processor": flags,
        "default": default,
        "flops": flops,
        "rounds": rounds,
        "ms": {name: statistics.median(turn[name] for turn in turns) for name in turns[0]},
        "against_peer": over_turns(lambda t: min(t["peer fp32"], t["peer bf16"]) / t["ours default"]),
        "default_against_better": over_turns(lambda t: t["ours default"] / min(t["ours fp32"], t["ours bf16"])),
        "share_of_peak": over_turns(lambda t: flops / t["ours default"] / 1e6 / t[f"peak {default}"]),
    }


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--models", nargs="+", default=[f"{k}-{s}" for s in STEPS for k in ("dit", "gpt")])
    options.add_argument("--paths", nargs="+", choices=PATHS, default=list(PATHS))
    options.add_argument("--rounds", type=int, default=7)
    asked = options.parse_args()
    stored = RESULTS / "training_speed.json"
    kept = json.loads(stored.read_text())["rows"] if stored.exists() else []
    rows = {(row["model"], row["path"]): row for row in kept}  # what is not asked for keeps its rows
    for path in asked.paths:
        for model in asked.models:
            rows[model, path] = measure(model, path, asked.rounds) | {"environment": environment()}
            print(line(rows[model, path]), flush=True)
            write(
                stored, [rows[m, p] for p in PATHS for s in STEPS for m in (f"dit-{s}", f"gpt-{s}") if (m, p) in rows]
            )


def write(stored, rows):
    versions = {name: value for name, value in rows[-1]["environment"].items() if name not in ("cpu", "date")}
    lines = [
        "# Training steps against peers",
        "",
        f"`make bench-training`; one thread, D = 36, batch {BATCH}; ms per step, processor seconds, medians over",
        f"turns; versions `{json.dumps(versions)}`.",
        "Peers: smalldiffusion's DiT, Hugging Face's GPT-2, each in fp32 and in bf16 autocast; the faster counts.",
        "Ratio: the faster peer's time over that of a default `RunConfig`, not compiled (least and greatest turn).",
        "Default: its time over the better of our fp32 and bf16. Share: of what one 1024^3 product reaches in its",
        "precision, in the same process and turn. Compiled: with `compile=True`. Emulated bf16 (\\*) is timed on a",
        "sixteenth of the batch and multiplied.",
        "",
        "| model | processor | default | fp32 | bf16 | compiled | peer fp32 | peer bf16 | ratio | target "
        "| default | share |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    RESULTS.mkdir(exist_ok=True)
    stored.write_text(json.dumps({"rows": rows}, indent=1) + "\n")
    stored.with_suffix(".md").write_text("\n".join([*lines, *map(line, rows)]) + "\n")


def line(row):
    ms, ratio, against = row["ms"], row["against_peer"], row["default_against_better"]
    star = "" if "peak bf16" in ms else "\\*"
    cells = [
        row["model"],
        row["processor"] + (", held to AVX2" if row["path"] == "held to AVX2" else ""),
        f"{row['default']} {ms['ours default']:.1f}",
        f"{ms['ours fp32']:.1f}",
        f"{ms['ours bf16']:.1f}{star}",
        f"{ms['ours compiled']:.1f}",
        f"{ms['peer fp32']:.1f}",
        f"{ms['peer bf16']:.1f}{star}",
        f"{ratio['median']:.2f} ({ratio['least']:.2f} to {ratio['most']:.2f}, {row['rounds']} turns)",
        f"{TARGETS[row['path']][row['model'].partition('-')[2]]}",
        f"{against['median']:.2f}",
        f"{row['share_of_peak']['median']:.0%}",
    ]
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
