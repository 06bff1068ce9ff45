"""The one call that makes every figure and table of a run."""

from pathlib import Path

import pandas as pd
import pytest

import twoclocks as tc
from twoclocks.cli import main

GPT = {
    "comparison.csv", "comparison.png", "completions.csv", "completions.png", "nearest.csv", "nearest.png",
    "nearest_references.csv", "position_floors.csv", "positions.csv", "positions.png", "states.csv", "states.png",
}  # fmt: skip
DIT = {
    "basin_ratio.png", "basin_ratios.csv", "basins.csv", "basins.png", "claims.md", "comparison.csv", "comparison.png",
    "gap.png", "nearest.csv", "nearest.png", "nearest_references.csv", "noise_bands.png", "planes.csv", "planes.png",
    "planes_score.png", "segment_widths.csv", "segment_widths.png", "segments.csv", "segments.png", "spectra.csv",
    "spectra.png", "states.csv", "states.png",
}  # fmt: skip


@pytest.fixture(scope="module")
def gpt_run(tmp_path_factory: pytest.TempPathFactory) -> tc.Run:
    config = tc.RunConfig(
        rule="parity:2x6,G=3", model="gpt-nano", n_train=16, steps=40, batch_size=16, n_eval=32, eval_ratio=2, lr=2e-3
    )
    return tc.train(config, tmp_path_factory.mktemp("gpt") / "run", progress=False)


@pytest.mark.slow
def test_a_gpt_gets_its_figures_and_tables(gpt_run: tc.Run, tmp_path: Path) -> None:
    files = tc.probes.dissect(gpt_run, tmp_path / "out", n_noises=20, progress=False)
    assert {path.name for path in files} == GPT
    states = pd.read_csv(tmp_path / "out" / "states.csv")
    assert len(states) == 20 * len(gpt_run.checkpoint_steps)


@pytest.mark.slow
def test_a_dit_gets_its_figures_tables_and_claims(dit_run: tc.Run, tmp_path: Path) -> None:
    files = tc.probes.dissect(dit_run, tmp_path / "out", n_noises=20, progress=False)
    assert {path.name for path in files} == DIT
    claims = (tmp_path / "out" / "claims.md").read_text()
    assert "| C7 |" in claims
    assert "| C8 |" in claims


def test_the_command_writes_into_the_run_and_names_the_files(gpt_run: tc.Run, capsys: pytest.CaptureFixture) -> None:
    main(["dissect", str(gpt_run.path), "--n-noises", "20"])
    printed = {Path(line).name for line in capsys.readouterr().out.splitlines()}
    assert printed == GPT == {path.name for path in (gpt_run.path / "dissection").iterdir()}


def test_a_run_without_an_end_is_refused(gpt_run: tc.Run, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    unfinished = tmp_path / "run"
    (unfinished / "checkpoints").mkdir(parents=True)
    for name in ("config.json", "training_set.npz", "metrics.jsonl"):
        (unfinished / name).write_bytes((gpt_run.path / name).read_bytes())
    with pytest.raises(ValueError, match="keeps no weights"):
        tc.probes.dissect(tc.load_run(unfinished))
    for file in (gpt_run.path / "checkpoints").iterdir():
        (unfinished / "checkpoints" / file.name).write_bytes(file.read_bytes())
    with pytest.raises(SystemExit) as ended:
        main(["dissect", str(unfinished)])
    assert ended.value.code == 2
    assert "has not ended" in capsys.readouterr().err
    assert not (unfinished / "dissection").exists()
