"""The command line: one line and exit status 2 for a bad request, a table and a figure for a good one."""

import os
import signal
import subprocess
import sys
from importlib.metadata import version

import pytest

import twoclocks as tc
from twoclocks.__main__ import main as entry
from twoclocks.cli import main
from twoclocks.commands import COMMANDS
from twoclocks.empirics.interrupts import Terminated

TINY = ["--rule", "parity:2x4,G=4", "--model", "gpt-nano", "--n-train", "8", "--steps", "12", "--batch-size", "8"]
TINY += ["--n-eval", "16", "--eval-first", "6"]


def failing(capsys, *arguments):
    with pytest.raises(SystemExit) as stop:
        main(list(arguments))
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return error


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--rule", "parity:6x6,G=5"], "G=5 must divide the 36 cells"),
        (["--rule", "parrot:6x6"], "known rules: parity:6x6,G=3"),
        (["--model", "dit-huge"], "known models: dit-nano"),
        (["--n-train", "0"], "n_train must lie in 1"),
        (["--n-train", "20000000"], "exceeds the 65536 valid grids of parity:4x6,G=3"),
        (["--rule", "parity:6x6,G=3", "--n-train", "20000000"], "exceeds the 16777216 valid grids"),
        (["--lr", "-1"], "lr must lie in"),
        (["--resume"], "--out"),
        (["--device", "toaster"], "device"),
    ],
)
def test_bad_requests_are_one_line_and_write_nothing(tmp_path, monkeypatch, capsys, options, message):
    monkeypatch.chdir(tmp_path)
    assert message in failing(capsys, "run", *options)
    assert not list(tmp_path.iterdir())


def test_run_prints_the_clocks_and_draws_them(tmp_path, capsys):
    out = tmp_path / "run"
    main(["run", *TINY, "--out", str(out)])
    printed = capsys.readouterr().out
    assert "tau_rule" in printed
    assert "gpt-nano" in printed
    assert (out / "clocks.png").stat().st_size > 10_000
    assert tc.load_run(out).status == "finished"


def test_a_folder_in_use_is_left_alone(tmp_path, capsys):
    out = tmp_path / "run"
    main(["run", *TINY, "--out", str(out)])
    before = {p: p.read_bytes() for p in out.rglob("*") if p.is_file()}
    assert "holds a run already" in failing(capsys, "run", *TINY, "--out", str(out))
    assert "seed=0 (asked: 1)" in failing(capsys, "run", *TINY, "--seed", "1", "--resume", "--out", str(out))
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "todo.txt").write_text("mine")
    assert "not an empty folder" in failing(capsys, "run", *TINY, "--out", str(tmp_path / "notes"))
    assert {p: p.read_bytes() for p in out.rglob("*") if p.is_file()} == before
    main(["run", *TINY, "--resume", "--out", str(out)])


def test_help_states_every_option(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["run", "--help"])
    assert stop.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    for word in (
        "--rule",
        "--n-train",
        "--steps",
        "--lr",
        "--batch-size",
        "--seed",
        "--device",
        "--out",
        "quick preset",
    ):
        assert word in text


def test_baseline_prints_exact_chance(capsys):
    main(["baseline", "latin:4", "--n-train", "10", "144"])
    text = capsys.readouterr().out
    assert "576 valid grids of 4^16" in text
    assert "0.25" in text  # 144 of 576
    main(["baseline", "parity:200x200,G=2"])  # a number of 6,021 digits
    assert "4.0e+6020 valid grids of 2^40000" in capsys.readouterr().out
    main(["baseline", "parity:1x2,G=2"])  # two grids: the default sizes adapt
    assert "2 valid grids" in capsys.readouterr().out
    assert "0..576" in failing(capsys, "baseline", "latin:4", "--n-train", "577")


@pytest.mark.slow
def test_derive_prints_text_and_latex(capsys):
    main(["derive", "count"])
    assert "elementary symmetric" in capsys.readouterr().out
    main(["derive", "count", "--latex"])
    assert "\\begin{enumerate" in capsys.readouterr().out
    assert "known derivations" in failing(capsys, "derive", "fish")


def test_fit_reads_a_table_of_ones_own(tmp_path, capsys):
    rows = ["model,rule,n_train,seed,tau_mem_lower,tau_mem_upper"]
    for n in (64, 128, 256, 512):
        for seed in range(4):
            start = n * (5 + 0.3 * seed)
            rows.append(f"mine,parity,{n},{seed},{start},{'inf' if n == 512 and seed == 3 else 1.3 * start}")
    (tmp_path / "runs.csv").write_text("\n".join(rows))
    figure = tmp_path / "fit.png"
    main(["fit", str(tmp_path / "runs.csv"), "--n-boot", "200", "--figure", str(figure)])
    assert "exponent" in capsys.readouterr().out
    assert figure.stat().st_size > 10_000
    assert "No such file" in failing(capsys, "fit", str(tmp_path / "absent.csv"))


def test_fit_reads_one_column_with_the_grid_of_evaluations(tmp_path, capsys):
    rows = ["model;rule;n_train;seed;tau_mem;end"]
    for n in (64, 128, 256, 512):
        for seed in range(4):
            late = n == 512 and seed == 3
            rows.append(f"mine;NA;{n};{seed};{'inf' if late else str(n * (5 + 0.3 * seed)).replace('.', ',')};2900")
    table = tmp_path / "runs.csv"
    table.write_text("\n".join(rows))
    assert "add --tau tau_mem --grid-ratio R" in failing(capsys, "fit", str(table))
    grid = ["fit", str(table), "--tau", "tau_mem", "--grid-ratio", "1.3", "--n-boot", "0"]
    assert "line 17: tau_mem is inf" in failing(capsys, *grid)
    main([*grid, "--last-step", "end"])
    printed = capsys.readouterr().out
    assert "16 runs, 1 censored" in printed
    assert "NA" in printed
    main([*grid, "--last-step", "2900", "--by"])
    assert "groups by nothing" in capsys.readouterr().out
    table.write_text("\n".join([*rows, "mine;NA;64;0;320,0;2900"]))
    assert "line 18: a second run with" in failing(capsys, *grid, "--last-step", "end")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["run", "--lr", "abc"], "--lr: could not convert string to float: 'abc'"),
        (["run", "--lrr", "3"], "unknown option --lrr of twoclocks run; did you mean --lr?"),
        (["run", "--lr=1e-3", "--n_trian=3"], "did you mean --n-train?"),
        (["sweep", "grid.yaml", "--otu", "runs"], "did you mean --out?"),  # although --out is missing, too
        (["compare", "runs/a", "--devcie", "cpu"], "did you mean --device?"),
        (["report", "runs", "more"], "say where the report of several folders goes"),
        (["figre", "3"], "unknown command 'figre'; did you mean figure?"),
        (["run", "--precision", "fp64"], "Expected one of ('auto', 'fp32', 'bf16')"),
        (["nonsense"], "nonsense"),
        ([], "Expected one of {run, sweep,"),
        (["baseline"], "the rule, such as parity:6x6,G=3"),
    ],
)
def test_arguments_that_ask_for_nothing_known_are_told_in_one_line(arguments, told, capsys):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert said.startswith("twoclocks: ")
    assert told in said


def test_v_shows_the_traceback(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["-v", "figure", "29"])
    assert ended.value.code == 2
    assert "Traceback" in capsys.readouterr().err


def test_version(capsys):
    main(["--version"])
    assert capsys.readouterr().out == f"twoclocks {version('twoclocks')}\n"


def test_help_fits_80_columns(capsys):
    for command in ("", *COMMANDS):
        with pytest.raises(SystemExit) as ended:
            main([*command.split(), "--help"])
        assert not ended.value.code
        lines = [line for line in capsys.readouterr().out.splitlines() if not line.startswith("usage:")]
        assert max(map(len, lines)) <= 82


@pytest.mark.parametrize(("asked", "threads"), [({}, "1"), ({"OPENBLAS_NUM_THREADS": "3"}, "3")])
def test_numpy_gets_one_thread_unless_asked_otherwise(monkeypatch, asked, threads):
    monkeypatch.setattr(os, "environ", dict(asked))
    monkeypatch.setattr("twoclocks.cli.main", lambda: None)
    entry()
    assert os.environ["OPENBLAS_NUM_THREADS"] == threads


def test_a_reader_that_stops_early_is_no_error(tmp_path):
    code = "import sys; from twoclocks.cli import main; main(['--tyro-print-completion', 'bash'])"
    run = subprocess.run(
        ["bash", "-c", f'"{sys.executable}" -c "{code}" | head -n 1'], capture_output=True, text=True, check=True
    )
    assert run.stderr == ""
    assert run.stdout.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["run", "--seed", "3", "--out", "here"], ["results so far are in here", "--seed 3 --out here --resume"]),
        (["run", "--model", "gpt-nano"], ["twoclocks run --model gpt-nano --out runs/gpt-nano-1 --resume"]),
        (["sweep", "quick-gpt", "--out", "there"], ["the runs so far are in there", "the same command continues"]),
        (["figure", "5", "--recompute"], ["figures so far are in figures", "runs/figures-laptop"]),
        (["report", "runs"], ["the page is not written yet"]),
        (["baseline", "parity:2x4,G=4"], []),
    ],
)
@pytest.mark.parametrize(("kind", "status"), [(KeyboardInterrupt, 130), (Terminated, 143)])
def test_an_interruption_says_where_results_lie(tmp_path, monkeypatch, capsys, arguments, told, kind, status):
    def interrupt(*given, **named):
        raise kind

    for name in ("train", "sweeps.sweep.sweep", "write_report"):
        monkeypatch.setattr(f"twoclocks.empirics.{name}", interrupt)
    monkeypatch.setattr("twoclocks.paper_figures.figures.draw", interrupt)
    monkeypatch.setattr("twoclocks.theory.chance_table", interrupt)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == status
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert said.startswith(f"twoclocks: {'interrupted' if status == 130 else 'terminated'}")
    for words in told:
        assert words in said


def test_sigterm_is_left_as_it_was(capsys):
    before = signal.getsignal(signal.SIGTERM)
    main(["--version"])
    assert signal.getsignal(signal.SIGTERM) == before


ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "ascii"}


def test_an_ascii_terminal_is_printed_on():
    done = subprocess.run(
        [sys.executable, "-m", "twoclocks", "--help"], capture_output=True, env={**os.environ, **ASCII}, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"* run " in done.stdout


def test_a_backend_for_a_display_is_of_no_concern(tmp_path):
    code = "from twoclocks.cli import main; main(['--version']); import matplotlib; print(matplotlib.get_backend())"
    environment = {**os.environ, "MPLBACKEND": "no-such-backend"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "agg")
