"""One network, its data and generations in three loops: a plain one, Lightning's, Hugging Face's. The same clocks."""

import pytest
import torch
from torch import nn

import twoclocks as tc
from twoclocks.empirics.adapters import geometric_steps
from twoclocks.empirics.adapters.schedule import Due

RULE = tc.rule("parity:2x6,G=3")
TRAIN = RULE.sample(64, torch.Generator().manual_seed(0)).unique(dim=0)[:10]
STEPS, BATCH = 240, 32


class TokenModel(nn.Module):
    """A GPT as others write theirs: the forward pass returns a loss."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.gpt = tc.build_model("gpt-nano", RULE)

    def forward(self, x, labels=None):
        logits = self.gpt(x)
        return {"loss": nn.functional.cross_entropy(logits.flatten(0, 1), x.flatten()), "logits": logits}


def batches():
    g = torch.Generator().manual_seed(1)
    return [TRAIN[torch.randint(len(TRAIN), (BATCH,), generator=g)] for _ in range(STEPS)]


def generate(model):
    return model.gpt.generate(200, torch.Generator().manual_seed(2))


def optimizer(model):
    return torch.optim.SGD(model.parameters(), lr=0.5)


@pytest.fixture(scope="module")
def plain():
    """Clocks of a plain loop, three lines of it theirs."""
    clocks, model = tc.Clocks(RULE, TRAIN, stop="memorized"), TokenModel()
    steps, opt = optimizer_steps(), optimizer(model)
    for step, x in enumerate(batches(), start=1):
        opt.zero_grad()
        model(x)["loss"].backward()
        opt.step()
        if step in steps:
            clocks.see(step, generate(model.eval()))
            model.train()
            if clocks.should_stop:
                break
    return clocks


def optimizer_steps():
    steps = geometric_steps(10, 1.3)
    return {next(steps) for _ in range(20)}


def test_the_plain_loop_stops_once_it_copies(plain):
    assert not plain.onsets["tau_mem"].censored
    assert plain.table["step"].iloc[-1] < STEPS  # it has stopped


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning", "ignore::DeprecationWarning")
def test_lightning_tells_the_same(plain, tmp_path):
    pl = pytest.importorskip("pytorch_lightning")

    class Module(pl.LightningModule):
        def __init__(self):
            super().__init__()
            self.model = TokenModel()

        def training_step(self, batch, index):
            assert self.training
            return self.model(batch)["loss"]

        def configure_optimizers(self):
            return optimizer(self)

    from twoclocks.empirics.adapters import LightningClocks

    clocks = tc.Clocks(RULE, TRAIN, stop="memorized")
    trainer = pl.Trainer(
        accelerator="cpu", max_steps=STEPS, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, default_root_dir=tmp_path,
        callbacks=[LightningClocks(clocks, lambda m: generate(m.model), ratio=1.3)],
    )  # fmt: skip
    trainer.fit(Module(), torch.utils.data.DataLoader(batches(), batch_size=None))
    assert clocks.table.equals(plain.table)
    assert trainer.callback_metrics["memorization"] == plain.table["memorization"].iloc[-1]


def test_hugging_face_tells_the_same(plain, tmp_path):
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("accelerate")
    from twoclocks.empirics.adapters import TrainerClocks

    clocks, model = tc.Clocks(RULE, TRAIN, stop="memorized"), TokenModel()
    rows = torch.cat(batches())
    arguments = transformers.TrainingArguments(
        str(tmp_path), max_steps=STEPS, per_device_train_batch_size=BATCH, lr_scheduler_type="constant",
        max_grad_norm=0.0, report_to=[], use_cpu=True, save_strategy="no", disable_tqdm=True, logging_strategy="no",
        remove_unused_columns=False, dataloader_pin_memory=False,
    )  # fmt: skip

    class InOrder(transformers.Trainer):
        def _get_train_sampler(self, *rest):
            return None

    trainer = InOrder(
        model, arguments, train_dataset=[{"x": x} for x in rows], optimizers=(optimizer(model), None),
        callbacks=[TrainerClocks(clocks, generate, ratio=1.3)],
    )  # fmt: skip
    trainer.train()
    assert clocks.table.equals(plain.table)


def test_steps_of_evaluations():
    steps = geometric_steps(1, 1.5)
    assert [next(steps) for _ in range(7)] == [1, 2, 3, 4, 5, 8, 11]
    due = Due(geometric_steps(10, 2))
    assert [step for step in (1, 5, 10, 11, 30, 39, 40, 85, 90) if due(step)] == [10, 30, 40, 85]
    with pytest.raises(ValueError, match="ratio above 1"):
        next(geometric_steps(1, 1.0))
