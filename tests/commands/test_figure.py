"""`twoclocks figure`: where its tables lie, and what is refused before anything is trained."""

import pandas as pd
import pytest
from matplotlib.figure import Figure

from twoclocks.cli import main
from twoclocks.paper_figures import store


class Plain:
    """A figure that trains nothing and is quickly drawn."""

    def configs(self, preset):
        return []

    def compute(self, preset, runs):
        return {"table": pd.DataFrame({"seeds": [preset.seeds]})}

    def plot(self, data):
        return Figure()


@pytest.fixture
def plain(monkeypatch):
    monkeypatch.setattr("twoclocks.paper_figures.figures.figure_module", lambda name: Plain())


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """A preset of one's own in the present folder, of a package that is installed there, too."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(store, "RESULTS", tmp_path / "site-packages" / "twoclocks" / "paper_figures" / "results")
    (tmp_path / "mine.yaml").write_text("start: smoke\nseeds: 1\n")
    return tmp_path


def refused(capsys, *arguments):
    with pytest.raises(SystemExit) as ended:
        main(["figure", *arguments])
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return error


def test_tables_are_written_to_the_data_folder_and_drawn_from_it(mine, plain, capsys):
    main(["figure", "5", "--preset", "mine.yaml", "--recompute", "--data", "tables"])
    written = mine / "tables" / "mine" / "fig05"
    assert store.read_data(written)
    record = store.read_provenance(written)
    assert record["command"] == "twoclocks figure 5 --preset mine.yaml --recompute"
    (mine / "figures" / "fig05.png").unlink()
    main(["figure", "5", "--preset", "mine.yaml", "--data", "tables"])
    assert (mine / "figures" / "fig05.png").exists()
    assert capsys.readouterr().out.splitlines()[-1] == "figures/fig05.png (drawn from tables/mine/fig05)"
    assert "no data in other/mine/fig05" in refused(capsys, "5", "--preset", "mine.yaml", "--data", "other")


def test_outside_a_clone_tables_go_to_the_present_folder_and_the_committed_ones_are_drawn(mine, plain, capsys):
    assert store.written_data() == store.OWN
    committed = store.results_folder("mine", 5)
    main(["figure", "5", "--preset", "mine.yaml", "--recompute"])
    own = store.OWN / "mine" / "fig05"
    assert own.is_dir()
    assert not store.RESULTS.exists()
    committed.parent.mkdir(parents=True)
    own.rename(committed)
    main(["figure", "5", "--preset", "mine.yaml"])
    assert capsys.readouterr().out.splitlines()[-1] == f"figures/fig05.png (drawn from {committed})"


def test_a_clone_keeps_its_tables(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "RESULTS", tmp_path / "clone" / "paper_figures" / "results")
    (tmp_path / "clone" / ".git").mkdir(parents=True)
    assert store.written_data() == store.RESULTS
    assert store.written_data(tmp_path) == tmp_path


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--recompute", "--data", "file/tables"], "file/tables/smoke/fig10 cannot be written (Not a directory)"),
        (["--recompute", "--out", "file/figures"], "file/figures cannot be written (Not a directory)"),
        (["--recompute", "--data", "tables", "--device", "toaster"], "device 'toaster'"),
        (["--device", "cpu"], "they need --recompute"),
        (["--precision", "fp32"], "they need --recompute"),
    ],
)
def test_what_would_fail_in_the_end_is_refused_before_training(mine, monkeypatch, capsys, options, message):
    def train(*given):
        raise AssertionError("it trains")

    monkeypatch.setattr("twoclocks.paper_figures.figures.trained", train)
    (mine / "file").write_text("in the way")
    assert message in refused(capsys, "10", "--preset", "smoke", *options)


def test_a_folder_without_the_right_to_write_is_named(tmp_path, monkeypatch):
    def deny(**named):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(store.tempfile, "TemporaryFile", deny)
    with pytest.raises(ValueError, match=r"cannot be written \(Permission denied\); choose another --data"):
        store.check_writable(tmp_path, "choose another --data")


def test_device_and_precision_are_those_of_every_run(mine, monkeypatch):
    seen = []

    def note(configs, preset, progress, per_device):
        seen.extend(configs)
        raise KeyboardInterrupt

    monkeypatch.setattr("twoclocks.paper_figures.figures.trained", note)
    with pytest.raises(SystemExit):
        main(["figure", "10", "--preset", "smoke", "--recompute", "--device", "cpu", "--precision", "fp32"])
    assert {(config.device, config.precision) for config in seen} == {("cpu", "fp32")}
