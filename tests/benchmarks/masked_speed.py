"""Training steps of masked diffusion against Hugging Face's BERT of the same size, turn by turn in one process.

    python tests/benchmarks/masked_speed.py

D = 36, batch 128, the same training set and the same masked grids, AdamW, one thread, in seconds of the processor. The
peer is BertForMaskedLM without dropout, and keeps the memory that it frees as ours does, for they share a process. Ours
in float32 stands against BERT in float32. Where the processor multiplies bfloat16, ours in bfloat16 stands against the
faster of BERT in float32 and BERT under bfloat16 autocast, as chosen by their medians over all turns. A ratio is the
median over turns of (peer / ours). Needs the package transformers. Writes results/masked_speed.{json,md} beside this
file.
"""

import argparse
import json
import statistics
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from training_speed import processor

import twoclocks as tc
from twoclocks.empirics.allocator import keep_freed_memory
from twoclocks.empirics.data import training_set
from twoclocks.empirics.engine import Engine
from twoclocks.empirics.families import Batches, family
from twoclocks.empirics.hardware import has_native_bf16
from twoclocks.empirics.runs.run import environment
from twoclocks.models import SIZES

RESULTS = Path(__file__).parent / "results"
RULE = tc.rule("parity:6x6,G=3")
CONFIG = {"rule": RULE.spec, "batch_size": 128, "n_train": 4096, "lr": 1e-3}
TRAIN = training_set(RULE, 4096, 0)
STEPS = {"nano": 20, "micro": 6, "mini": 4}  # a turn: enough that most find the caches as their own left them
TARGETS = {"fp32": 1.2, "bf16": 2.0}
PEERS = {"fp32": ("fp32",), "bf16": ("fp32", "bf16")}
"""Precisions of BERT beside ours; the fastest counts."""


def ours(name, precision):
    return Engine(tc.RunConfig(model=f"mdm-{name}", precision=precision, **CONFIG), RULE, TRAIN, None).advance


def peer(name, precision):
    """A BERT with Q + 1 tokens, on batches drawn by ours: the mask's token is Q."""
    from transformers import BertConfig, BertForMaskedLM

    size = SIZES[name]
    model = BertForMaskedLM(
        BertConfig(
            vocab_size=RULE.alphabet + 1, hidden_size=size.width, num_hidden_layers=size.layers,
            num_attention_heads=size.heads, intermediate_size=4 * size.width, max_position_embeddings=RULE.dim,
            type_vocab_size=1, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, pad_token_id=None,
        )
    )  # fmt: skip
    config = tc.RunConfig(model=f"mdm-{name}", **CONFIG)
    batches = Batches(family(config.model), config, TRAIN, None, torch.device("cpu"))
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.lr, fused=True)
    done = [0]

    def step():
        batch = batches[done[0]]
        done[0] += 1
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            logits = model(input_ids=batch.clean.masked_fill(batch.masked, RULE.alphabet)).logits
        surprise = F.cross_entropy(logits.float().flatten(0, 1), batch.clean.flatten(), reduction="none")
        loss = (batch.weight * (surprise.view_as(batch.clean) * batch.masked).sum(1)).mean() / RULE.dim
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def timed(step, count):
    """Median milliseconds of the processor over some steps."""
    taken = []
    for _ in range(count):
        start = time.process_time()
        step()
        taken.append(time.process_time() - start)
    return 1e3 * statistics.median(taken)


def measure(name, precision, rounds):
    peers = PEERS[precision]
    steps = {"ours": ours(name, precision)} | {kind: peer(name, kind) for kind in peers}
    for step in steps.values():
        step()
        step()
    turns = [{side: timed(step, STEPS[name]) for side, step in steps.items()} for _ in range(rounds)]
    ms = {side: statistics.median(turn[side] for turn in turns) for side in steps}
    fastest = min(peers, key=ms.__getitem__)
    ratios = sorted(turn[fastest] / turn["ours"] for turn in turns)
    return {
        "model": f"mdm-{name}",
        "precision": precision,
        "rounds": rounds,
        "ms": ms,
        "peer": fastest,
        "ratio": {"median": statistics.median(ratios), "least": ratios[0], "most": ratios[-1]},
        "target": TARGETS[precision],
        "processor": processor(),
        "environment": environment(),
    }


def line(row):
    ms, ratio = row["ms"], row["ratio"]
    cells = [
        row["model"], row["precision"], f"{ms['ours']:.1f}",
        *(f"{ms[kind]:.1f}" if kind in ms else "" for kind in ("fp32", "bf16")), row["peer"],
        f"{ratio['median']:.2f} ({ratio['least']:.2f} to {ratio['most']:.2f}, {row['rounds']} turns)",
        f"{ms[row['precision']] / ms['ours']:.2f}",
        f"{row['target']:g}",
    ]  # fmt: skip
    return f"| {' | '.join(cells)} |"


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--sizes", nargs="+", choices=STEPS, default=list(STEPS))
    options.add_argument("--precisions", nargs="+", choices=TARGETS, default=["fp32", "bf16"][: 1 + has_native_bf16()])
    options.add_argument("--rounds", type=int, default=9)
    asked = options.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    stored = RESULTS / "masked_speed.json"
    kept = json.loads(stored.read_text())["rows"] if stored.exists() else []
    rows = {(row["model"], row["precision"]): row for row in kept}  # what is not asked for keeps its rows
    for precision in asked.precisions:
        for name in asked.sizes:
            row = measure(name, precision, asked.rounds)
            rows[row["model"], precision] = row
            print(line(row), flush=True)
            write(stored, [rows[f"mdm-{n}", p] for p in TARGETS for n in STEPS if (f"mdm-{n}", p) in rows])


def write(stored, rows):
    versions = {name: value for name, value in rows[-1]["environment"].items() if name != "date"}
    text = [
        "# Training steps of masked diffusion against BERT",
        "",
        "`python tests/benchmarks/masked_speed.py`: Hugging Face's BertForMaskedLM of the same layers, heads, width,",
        "on the same batches (D = 36, batch 128), turn by turn, one process, one thread; ms per step, seconds of the",
        "processor, medians over turns; ratios: faster BERT / ours, and BERT of the same precision / ours, by medians.",
        f"Processors: {'; '.join(dict.fromkeys(row['processor'] for row in rows))}.",
        f"Versions `{json.dumps(versions)}`.",
        "",
        "| model | precision | ours | BERT fp32 | BERT bf16 | faster | ratio (least and greatest turn) |"
        " same precision | target |",
        "|---|---|---|---|---|---|---|---|---|",
        *map(line, rows),
    ]
    stored.write_text(json.dumps({"rows": rows}, indent=1) + "\n")
    stored.with_suffix(".md").write_text("\n".join(text) + "\n")


if __name__ == "__main__":
    main()
