"""The wheel: complete, and imported as itself wherever it is used."""

import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from wheel_alone import walk

ROOT = Path(__file__).parent.parent
SOURCES = ("cli.py", "commands", "theory", "models", "empirics", "paper_figures")
KINDS = (".py", ".pyi", ".html", ".css", ".js")


def tracked(*paths):
    listed = subprocess.run(["git", "ls-files", *paths], cwd=ROOT, check=True, capture_output=True, text=True)
    return listed.stdout.split()


def test_every_package_is_listed():
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    inits = [Path(path).parent for path in tracked(*SOURCES) if path.endswith("/__init__.py")]
    assert set(listed) == {"twoclocks", *(".".join(("twoclocks", *folder.parts)) for folder in inits)}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for path in tracked():  # not in place: setuptools would pack what an earlier build left behind
        (source / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / path, source / path)
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", out, source],
        check=True, capture_output=True,
    )  # fmt: skip
    return next(out.glob("*.whl"))


@pytest.fixture(scope="module")
def site(wheel, tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    zipfile.ZipFile(wheel).extractall(folder)
    return folder


@pytest.mark.slow
def test_the_wheel_holds_every_module_and_no_results(wheel):
    held = set(zipfile.ZipFile(wheel).namelist())
    wanted = {f"twoclocks/{path}" for path in tracked(*SOURCES) if path.endswith(KINDS) and "/results/" not in path}
    package = {path for path in held if path.startswith("twoclocks/")}
    assert wanted <= package
    root = ("__init__.py", "__init__.pyi", "__main__.py", "py.typed")
    assert package - wanted == {f"twoclocks/{name}" for name in root}
    assert {path.partition("/")[0].partition("-")[0] for path in held} == {"twoclocks"}
    assert wheel.stat().st_size < 2**20


@pytest.mark.slow
def test_it_works_beside_packages_named_models_and_theory(site, tmp_path):
    for name in ("models", "theory", "empirics", "paper_figures", "tests"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise ImportError('the wrong package')\n")
    environment = {**os.environ, "PYTHONPATH": str(site)}
    code = (
        "import twoclocks as tc, pathlib; from twoclocks.paper_figures import figures;"
        "print(pathlib.Path(tc.__file__).parent);"
        "run = tc.train(tc.RunConfig(model='gpt-nano', rule='parity:2x6,G=2', n_train=16, steps=4, batch_size=8,"
        " n_eval=8), 'run'); print(run.result['status']);"
        "print(tc.chance_memorization(tc.rule('parity:6x6,G=3'), 4096))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    where, status, _ = done.stdout.split("\n", 2)
    assert Path(where) == site / "twoclocks"
    assert status == "finished"
    command = [sys.executable, "-m", "twoclocks", "figure", "5", "--out", "drawn"]
    refused = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert refused.returncode == 2
    assert "pip download --no-deps --no-binary twoclocks twoclocks" in refused.stderr
    command += ["--data", ROOT / "paper_figures" / "results"]
    subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True)
    assert (tmp_path / "drawn" / "fig05.png").stat().st_size > 10_000


@pytest.mark.slow
def test_a_newcomers_first_commands_work(site, tmp_path):
    start = f"import sys; sys.path.insert(0, {str(site)!r}); from twoclocks.__main__ import main; main()"
    walk([sys.executable, "-c", start], tmp_path)
