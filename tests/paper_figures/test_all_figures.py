"""Every figure from nothing at the smoke preset: runs, tables, drawing, gallery; and the committed ones drawn."""

from pathlib import Path

import pytest
from same_text import assert_same_text

from twoclocks.paper_figures import store
from twoclocks.paper_figures.exhibit import FIGURES, figure_module
from twoclocks.paper_figures.figures import draw
from twoclocks.paper_figures.gallery import README, write_gallery
from twoclocks.paper_figures.store import read_data, read_provenance, results_folder


@pytest.mark.slow
def test_every_figure_is_computed_and_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results = tmp_path / "results"
    monkeypatch.setattr(store, "RESULTS", results)  # where the gallery looks
    files = draw(
        FIGURES, "smoke", tmp_path / "figures", recompute=True, runs=tmp_path / "runs", progress=False, data=results
    )
    assert [file.name for file in files] == [f"fig{number:02d}.png" for number in FIGURES]
    for file in files:
        assert file.stat().st_size > 10_000
        assert file.with_suffix(".pdf").read_bytes().startswith(b"%PDF")
    assert 1e5 < sum(file.stat().st_size for file in results.rglob("*")) < 10e6
    write_gallery("smoke", tmp_path / "README.md")
    gallery = (tmp_path / "README.md").read_text()
    assert (
        gallery.count("### Figure ") == gallery.count("**Scale:** ") == gallery.count("**Missing:** ") == len(FIGURES)
    )
    assert "not measured yet at this scale" not in gallery


@pytest.mark.slow
def test_committed_data_are_drawn_with_their_claims(tmp_path: Path) -> None:
    measured = [number for number in FIGURES if results_folder("laptop", number).exists()]
    assert measured
    for number in measured:
        module = figure_module(number)
        assert module.measured(read_data(results_folder("laptop", number))).rstrip().endswith(_WORDS)
        assert module.PAPER.endswith(".")
        assert not module.MISSING.endswith((".", " "))
        assert read_provenance(results_folder("laptop", number))["command"].startswith(f"twoclocks figure {number} ")
    assert draw(measured[:2], "laptop", tmp_path, progress=False)


@pytest.mark.slow
def test_the_committed_gallery_is_that_of_the_committed_data(tmp_path: Path) -> None:
    write_gallery("laptop", tmp_path / "README.md")
    assert_same_text((tmp_path / "README.md").read_text(), README.read_text())


def test_a_figure_that_the_paper_lacks_is_refused() -> None:
    with pytest.raises(ValueError, match="figures 1 to 28, not 29"):
        draw([29])
    with pytest.raises(ValueError, match="presets: smoke, laptop, paper"):
        draw([1], "desk")


_WORDS = ("agree", "differ", "undecided")
