"""The summary of a run comes back from its table, and figures take it for the run."""

import numpy as np
import pytest

import twoclocks as tc
from twoclocks.empirics.probes import phases, summary


def test_a_summary_returns_from_parquet(dit_run, tmp_path):
    import pandas as pd

    made = summary.run_summary(dit_run)
    assert (made.rule, made.model, made.n_train, made.seed) == ("parity:2x4,G=4", "dit-nano", 16, 0)
    assert made.checkpoint_steps == (10, 20, 40, 80)
    summary.summary_table(made).to_parquet(tmp_path / "run.parquet")
    again = summary.read_summary(pd.read_parquet(tmp_path / "run.parquet"))
    assert again == made
    assert summary.run_summary(made) is made
    accuracy = dit_run.metrics["rule_accuracy"]
    assert made.onsets[summary.RULE_HALF] == tc.detect_onset(dit_run.metrics["step"], accuracy, 0.5)
    assert phases.phase_steps(again) == phases.phase_steps(dit_run)
    assert phases.run_title(again) == phases.run_title(dit_run) == "dit-nano, parity:2x4,G=4, N = 16, seed 0"


def test_a_censored_clock_stays_censored():
    never = tc.Onset(np.inf, 80.0, np.inf, True)
    made = summary.RunSummary("latin:3", "dit-nano", 4, 1, {"tau_rule": never, "tau_mem": never}, ())
    table = summary.summary_table(made)
    assert "rule_half_lower" not in table
    assert summary.read_summary(table) == made
    with pytest.raises(ValueError, match="keeps no weights"):
        phases.phase_steps(made)
    with pytest.raises(ValueError, match="one row, got 0"):
        summary.read_summary(table.iloc[:0])
