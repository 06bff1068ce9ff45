"""A tiny ended DiT run with both clocks written in, for what probes do over a run."""

import pytest
from written_runs import write_clocks

import twoclocks as tc


@pytest.fixture(scope="session")
def dit_run(tmp_path_factory):
    """Kept steps 10, 20, 40, 80; tau_rule in (10, 20], tau_mem in (40, 80]."""
    path = tmp_path_factory.mktemp("runs") / "dit"
    config = tc.RunConfig(
        rule="parity:2x4,G=4", model="dit-nano", n_train=16, steps=80, batch_size=16, lr=3e-3, warmup=5,
        sampler_steps=4, n_eval=16, eval_first=10, eval_ratio=2.0, checkpoint_ratio=1.9,
    )  # fmt: skip
    run = tc.train(config, path, progress=False)
    assert run.checkpoint_steps == [10, 20, 40, 80]
    write_clocks(path, tau_rule=(10.0, 20.0), tau_mem=(40.0, 80.0))
    return tc.load_run(path)
