"""Pictures show the right images: the optimum's limits in sigma, and the nearest training images with their ratios."""

import numpy as np
import pytest
import torch

import twoclocks as tc
from twoclocks.empirics import plot_ideal_denoisers, plot_nearest

X = torch.from_numpy(np.random.default_rng(0).uniform(-1, 1, (30, 1, 4, 4))).float()


def images(figure):
    return [ax.images[0].get_array() for ax in figure.axes]


def test_the_ideal_denoiser_goes_from_the_image_to_the_mean(tmp_path):
    references = tc.references(X, ["empirical", "gaussian"])
    figure = plot_ideal_denoisers(X[3], references, [0.001, 0.5, 1000.0])
    shown = images(figure)
    assert len(shown) == 9

    def shade(image):
        return ((image - X[3].min()) / (X[3].max() - X[3].min())).clamp(0, 1).numpy()[0]

    np.testing.assert_allclose(shown[0], shade(X[3]), atol=0.01)  # little noise
    np.testing.assert_allclose(shown[3], shade(X[3]), atol=1e-5)
    np.testing.assert_allclose(shown[5], shade(X.mean(0)), atol=1e-3)
    np.testing.assert_allclose(shown[8], shade(X.mean(0)), atol=1e-2)
    assert [ax.get_ylabel() for ax in figure.axes[::3]] == ["x + sigma noise", "empirical", "gaussian"]
    figure.savefig(tmp_path / "ideal.png")
    assert (tmp_path / "ideal.png").stat().st_size > 3000


def test_copies_come_first_and_are_framed(tmp_path):
    generated = torch.cat([torch.rand(5, 1, 4, 4), X[7:8] + 0.001])
    figure = plot_nearest(generated, torch.cat([X, X[7:8]]), 4)  # a duplicate in the training set counts once
    shown, axes = images(figure), np.array(figure.axes).reshape(3, 4)
    np.testing.assert_allclose(shown[0], shown[4], atol=0.01)  # the copy and what it copies
    assert float(axes[2, 0].get_xlabel()) < 0.01
    assert "1 of 6" in figure.get_suptitle()
    framed = [ax.spines["left"].get_visible() for ax in axes[0]]
    assert framed == [True, False, False, False]
    ratios = [float(ax.get_xlabel()) for ax in axes[2]]
    x, known = generated.flatten(1), X.flatten(1)
    nearest = torch.cdist(x, known).sort(1).values
    wanted = (nearest[:, 0] / nearest[:, 1]).sort().values
    assert ratios[:2] == pytest.approx(wanted[:2].tolist(), abs=0.006)
    figure.savefig(tmp_path / "nearest.png")


@pytest.mark.parametrize("shape", [(4, 4), (3, 5, 5), (5, 5, 3), (6,)])
def test_images_of_any_layout(shape, tmp_path):
    x = torch.rand(8, *shape)
    plot_nearest(x.numpy(), (255 * x).to(torch.uint8) / 255.0, 2).savefig(tmp_path / "a.png")
    plot_ideal_denoisers(x[0], tc.references(x, ["empirical"]), [0.1]).savefig(tmp_path / "b.png")
