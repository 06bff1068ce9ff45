"""The look of figures is the package's own."""

import matplotlib as mpl

from twoclocks.empirics.style import figure_style, new_figure


def test_a_matplotlibrc_of_the_readers_changes_nothing(tmp_path):
    def drawn(name):
        with figure_style():
            figure, axes = new_figure(1, 1, 2, 2)
            axes[0][0].plot([0, 1])
            axes[0][0].set_title("sigma")
            figure.savefig(tmp_path / name)
        return (tmp_path / name).read_bytes()

    plain = drawn("plain.png")
    # text.usetex would need LaTeX, and fail only when a figure is drawn, after all training
    with mpl.rc_context({"text.usetex": True, "axes.facecolor": "red", "savefig.format": "svg", "font.size": 30}):
        assert drawn("own.png") == plain
        assert mpl.rcParams["text.usetex"]
