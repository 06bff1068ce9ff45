"""The documentation holds: snippets run, commands exist, the reference is complete, the site builds strictly."""

from __future__ import annotations

import inspect
import re
import shlex
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

import twoclocks as tc
from twoclocks.commands import COMMANDS
from twoclocks.commands.parsing import option_names

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))
FENCE = re.compile(r"^(<!-- slow -->\n)?```(\w+)\n(.*?)^```$", re.M | re.S)


def snippets(page: Path, language: str) -> list[tuple[str, bool]]:
    """The fenced code of a page with whether it is marked slow."""
    return [(code, bool(slow)) for slow, kind, code in FENCE.findall(page.read_text()) if kind == language]


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


WITH_PYTHON = [page for page in PAGES if snippets(page, "python")]
WITH_SLOW = [page for page in WITH_PYTHON if any(slow for _, slow in snippets(page, "python"))]


@pytest.fixture(scope="session")
def quick_runs(tmp_path_factory):
    """What `twoclocks run --out runs/quick-1` leaves, on a smaller scale."""
    folder = tmp_path_factory.mktemp("docs-runs")
    for name, rule, n_train, steps in (("gpt", "parity:4x6,G=3", 64, 60), ("dit", "parity:4x6,G=2", 16, 20)):
        config = tc.RunConfig(
            rule=rule, model=f"{name}-nano", n_train=n_train, steps=steps, batch_size=32, lr=2e-3, warmup=5,
            sampler_steps=4, n_eval=32, eval_ratio=2.0, checkpoint_ratio=1.9,
        )  # fmt: skip
        tc.train(config, folder / "quick-1" / name, progress=False)
    return folder


@pytest.fixture
def workplace(tmp_path, monkeypatch, request):
    """A folder from which pages see the committed results, and runs if they read any."""
    (tmp_path / "paper_figures").symlink_to(ROOT / "paper_figures")
    (tmp_path / "runs").mkdir()
    if "runs/quick-1" in request.getfixturevalue("page").read_text():
        (tmp_path / "runs" / "quick-1").symlink_to(request.getfixturevalue("quick_runs") / "quick-1")
    monkeypatch.chdir(tmp_path)


def run_page(page: Path, slow: bool) -> None:
    code = "\n".join(text for text, is_slow in snippets(page, "python") if slow or not is_slow)
    shorter = code.replace("steps=40,  # 1000", "steps=20, n_eval=64,  # 1000")
    exec(compile(shorter, str(page), "exec"), {"__name__": "__main__"})


@pytest.fixture
def forget_registrations(monkeypatch):
    """Rules that a page registers are not there for the next."""
    from twoclocks.theory import rules

    monkeypatch.setattr(rules, "_FAMILIES", dict(rules._FAMILIES))


@pytest.mark.parametrize("page", WITH_PYTHON, ids=name_of)
def test_python_snippets_run(page, workplace, forget_registrations):
    run_page(page, slow=False)


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # of diffusers and transformers
@pytest.mark.parametrize("page", WITH_SLOW, ids=name_of)
def test_slow_python_snippets_run(page, workplace, forget_registrations):
    run_page(page, slow=True)


@pytest.mark.parametrize("page", [page for page in PAGES if snippets(page, "console")], ids=name_of)
def test_console_snippets_name_commands_and_options_that_exist(page):
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), flags=re.M))
    text = "\n".join(code.replace("\\\n", "") for code, _ in snippets(page, "console"))
    lines = [line for line in text.splitlines() if line.startswith("$ ")]
    assert lines
    for line in lines:
        program, *arguments = shlex.split(line[2:], comments=True)
        if program == "make":
            assert set(arguments) <= targets, line
        elif program == "twoclocks":
            options = {word.partition("=")[0] for word in arguments[1:] if word.startswith("--")}
            assert options <= set(option_names(COMMANDS[arguments[0]])), line
        else:
            assert program in {"dask", "git", "jupyter", "mkdocs", "pip", "pytest", "python", "ruff", "tensorboard"}, (
                line
            )


@pytest.mark.parametrize("page", [page for page in PAGES if FENCE.search(page.read_text())], ids=name_of)
def test_snippets_fit_beside_the_menu(page):
    for _, kind, code in FENCE.findall(page.read_text()):
        assert max(map(len, code.splitlines())) <= 88, f"a {kind} snippet is cut at 88 columns on the site"


SPACES = {
    "compare": "empirics/comparison", "probes": "empirics/probes", "statistics": "empirics/statistics",
    "theory": "theory", "models": "models", "empirics": "empirics",
}  # fmt: skip
"""Where the names of each namespace are listed; a name is documented in the first that has it."""


def stub_names(package: str) -> set[str]:
    """The public names that a package's stub exports, without the modules."""
    text = (ROOT / package / "__init__.pyi").read_text()
    found = re.findall(r"^from (\S+) import \w+ as (\w+)", text, flags=re.M)
    return {name for source, name in found if source != "."} - {"compare", "probes", "statistics"}


def documented() -> list[str]:
    pages = (ROOT / "docs" / "reference").glob("*.md")
    return [name for page in pages for name in re.findall(r"^::: twoclocks\.(\S+)", page.read_text(), flags=re.M)]


def test_every_public_name_is_in_the_reference_once():
    names = documented()
    assert len(names) == len(set(names))
    known = stub_names(".")
    assert known - set(names) == set(), "add `::: twoclocks.NAME` to a page of docs/reference"
    constants = {"SIZES"}  # on the page of the models, in words
    for space, folder in SPACES.items():
        inner = stub_names(folder) - known - constants
        assert {f"{space}.{name}" for name in inner} <= set(names), f"as `::: twoclocks.{space}.NAME`"
        known |= inner
    assert all(
        (ROOT / "docs/reference/models.md").read_text().count(f"`twoclocks.models.{name}`") for name in constants
    )


def test_every_public_name_says_what_it_is():
    for name in sorted(stub_names(".")):
        thing = getattr(tc, name)
        if not (inspect.isclass(thing) or inspect.isfunction(thing)):
            continue  # a constant: the reference takes the string after it
        first = (thing.__doc__ or "").strip().partition("\n")[0]
        assert len(first.split()) >= 3, f"{name} has no docstring"
        assert not first.startswith(f"{name}("), f"{name} has only the docstring that dataclass or NamedTuple made"


def test_docstrings_become_markdown():
    sys.path.insert(0, str(ROOT / "docs" / "hooks"))
    try:
        from docstrings import to_markdown
    finally:
        sys.path.pop(0)
    link = {"rule": "twoclocks.rule"}.get
    assert to_markdown("mean <f - p, q> of `rule`, ``<x>`` and `y`", link) == (
        "mean &lt;f - p, q> of [`rule`][twoclocks.rule], ``<x>`` and `y`"
    )
    assert to_markdown("Args:\n    a, b: both,\n        long.\n    c: one.").splitlines()[1:5] == [
        "    a: both,",
        "        long.",
        "    b: both,",
        "        long.",
    ]
    assert "\n```yaml\nkey: 1\n```\n" in to_markdown("optional::\n\n    key: 1\n\nEnd.")
    assert "\n        ```yaml\n        key: 1\n        ```\n" in to_markdown(
        "Args:\n    a: optional::\n\n        key: 1\n"
    )
    table = to_markdown("=== =====\na   b\n=== =====\n1   |x|\n    more\n2   y\n=== =====")
    assert table.split("\n")[1:-1] == ["| a | b |", "| --- | --- |", r"| 1 | \|x\| more |", "| 2 | y |"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=name_of)
def test_notebooks_are_executed_and_small(path):
    import nbformat

    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert all(output.output_type != "error" for cell in code for output in cell.outputs)
    assert path.stat().st_size < 300_000
    assert not re.search(r"/(home|root|tmp|work)/", path.read_text())


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # of the kernel's own machinery
@pytest.mark.parametrize("path", NOTEBOOKS, ids=name_of)
def test_notebooks_run(path, tmp_path):
    import nbclient
    import nbformat

    notebook = nbformat.read(path, as_version=4)
    nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


class Links(HTMLParser):
    """The anchors of a page, and what it links to or shows."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.targets: set[str] = set()
        self.feed(page.read_text())

    def handle_starttag(self, tag, attrs):
        values = {key: value for key, value in attrs if value}
        self.anchors |= {values[key] for key in ("id", "name") if key in values}
        self.targets |= {values[key] for key in ("href", "src") if key in values}


def dead_links(site: Path) -> list[str]:
    """Links, anchors and images of a built site that lead nowhere in it. Other hosts are left alone."""
    pages = {path.resolve(): Links(path) for path in sorted(site.rglob("*.html"))}
    dead = []
    for path, page in pages.items():
        for target in sorted(page.targets):
            scheme, host, place, _, anchor = urlsplit(target)
            if scheme or host:
                continue
            found = (path.parent / unquote(place)).resolve() if place else path
            known = pages[found].anchors if found in pages else {unquote(anchor)}
            if not found.is_file() or (anchor and unquote(anchor) not in known):
                dead.append(f"{path.name}: {target}")
    return dead


def test_dead_links_are_found(tmp_path):
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "b.html").write_text("<h1 id='top'></h1><a href='../a.html#%C3%A9'></a>")
    (tmp_path / "a.html").write_text("<p id='é'><a href='inner/b.html#top'></a><a href='https://example.org/x'></a>")
    assert dead_links(tmp_path) == []
    (tmp_path / "c.html").write_text(
        "<a href='#no'></a><a href='inner/b.html#no'></a><a href='d.html'></a><img src='e.png'>"
    )
    assert dead_links(tmp_path) == [f"c.html: {target}" for target in ("#no", "d.html", "e.png", "inner/b.html#no")]


@pytest.mark.slow
def test_every_internal_link_anchor_and_image_of_the_site_resolves(site):
    assert dead_links(site) == []


@pytest.mark.slow
def test_no_markup_is_left_unrendered(site):
    for page in sorted(site.rglob("*.html")):
        text = re.sub(r"<(script|style)\b.*?</\1>", "", page.read_text(), flags=re.S)
        assert "```" not in text, page
        prose = re.sub(r"<code\b.*?</code>", "", text, flags=re.S)
        assert not re.search(r"<!-- \w+|<p>:::|\]\[twoclocks", prose), page


@pytest.mark.slow
def test_site_builds_strictly_and_names_no_host(site):
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 20
    for page in pages:
        fetched = re.findall(r"<(?:script|link|img|iframe)[^>]*?(?:src|href)=[\"']?([^\"' >]+)", page.read_text())
        assert not [url for url in fetched if "//" in url], page
        assert "unpkg.com" not in page.read_text()
        assert "build/package" not in page.read_text()


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_site_renders_in_a_browser_without_the_network(site):
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as play:
        chromium = Path(play.chromium.executable_path)
        found = chromium if chromium.exists() else Path("/usr/bin/chromium")
        if not found.exists():
            pytest.skip("no Chromium")
        browser = play.chromium.launch(executable_path=str(found), args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 390, "height": 844})
        faults: list[str] = []
        requests: list[str] = []
        page.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda fault: faults.append(str(fault)))
        page.on("request", lambda request: requests.append(request.url))
        formulas = 0
        for path in sorted(site.rglob("*.html")):
            page.goto(path.as_uri())
            page.wait_for_timeout(100)
            assert faults == [], path
            assert [url for url in requests if not url.startswith(("file:", "data:"))] == [], path
            assert page.locator(".katex-error").count() == 0, path
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{path} scrolls sideways"
            formulas += page.locator(".katex").count()
        assert formulas > 100
        browser.close()
