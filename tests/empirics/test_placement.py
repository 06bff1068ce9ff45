"""Networks and optima elsewhere, called from here."""

import pytest
import torch
from torch import nn

import twoclocks as tc
from twoclocks.empirics.placement import place_denoiser, place_network


class Seen(nn.Module):
    """Answers zeros, and keeps where it was called."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, y, sigma):
        self.where = (y.device.type, getattr(sigma, "device", torch.device("cpu")).type)
        return torch.zeros(3, device="cpu")  # what a real device would give back, since "meta" holds no values


@pytest.mark.parametrize(("sigma", "where"), [(torch.ones(3), ("meta", "meta")), (0.5, ("meta", "cpu"))])
def test_a_placed_network_takes_what_is_here(sigma, where):
    net = place_network(Seen(), "meta")
    assert net.weight.device.type == "meta"
    for _ in range(2):
        assert net(torch.zeros(3), sigma).device.type == "cpu"
        assert net.where == where


def test_a_placed_optimum_takes_what_is_here():
    seen = []

    def optimum(y, sigma):
        seen.append((y.device.type, sigma.device.type))
        return torch.zeros(3)

    assert place_denoiser(optimum, "meta")(torch.zeros(3), torch.ones(3)).device.type == "cpu"
    assert seen == [("meta", "meta")]
    assert place_denoiser(optimum, "cpu") is optimum


def test_a_run_elsewhere_gives_networks_there_in_the_precision_asked_for(tmp_path):
    config = tc.RunConfig(
        rule="parity:2x4,G=4", model="gpt-nano", n_train=8, steps=4, batch_size=4, n_eval=4, precision="bf16"
    )
    run = tc.train(config, tmp_path / "run", progress=False)
    x = run.train_set
    fp32, bf16 = (run.on("cpu", precision).model()(x) for precision in ("fp32", "bf16"))
    assert torch.equal(run.model()(x), bf16)
    assert not torch.equal(fp32, bf16)
    moved = run.on("meta")
    assert (moved.device, run.device) == ("meta", "cpu")
    assert next(moved.model().parameters()).device.type == "meta"
