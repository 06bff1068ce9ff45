"""What the site takes from the code when it is built, so that no page repeats by hand what the code says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.utils import get_relative_url
from notebook_page import notebook_page

import twoclocks as tc
from twoclocks.commands import COMMANDS
from twoclocks.theory.exposition import Derivation

ROOT = Path(__file__).parents[2]
VIEW = ROOT / "build" / "package" / "twoclocks"
"""The package alone, by links: the root of the repository holds much besides, which the reference need not read."""

PICTURES = {
    "quick_clocks.png": "paper_figures/output/quick_clocks.png",
    "paper_scale.png": "paper_figures/results/paper_scale/clocks.png",
}
"""Committed figures that pages show, by their names under assets/."""

GALLERY = "paper_figures/README.md"
STUDIES = "paper_figures/results/*/report.md"
"""Committed reports that are pages of the site, with the pictures they show: gallery.md and studies/NAME.md.

A strict build refuses a report that mkdocs.yml does not list, and a page listed there whose report is missing.
"""


def on_startup(**_: Any) -> None:
    """Lay out the package for the reference; builds side by side may do it at once."""
    VIEW.mkdir(parents=True, exist_ok=True)
    subpackages = [path.parent for path in ROOT.glob("*/__init__.py")]
    wanted = {VIEW / path.name: path for path in [*ROOT.glob("*.py"), *ROOT.glob("*.pyi"), *subpackages]}
    for link in set(VIEW.iterdir()) - set(wanted):
        link.unlink(missing_ok=True)
    for link, path in wanted.items():
        if not (link.is_symlink() and link.readlink() == path):
            link.unlink(missing_ok=True)
            with suppress(FileExistsError):
                link.symlink_to(path)


def on_files(files: Files, config: Any) -> Files:
    """Add the committed figures and reports, and a page for each notebook."""
    for name, source in PICTURES.items():
        files.append(File.generated(config, f"assets/{name}", abs_src_path=str(existing(ROOT / source))))
    reports = {"gallery.md": existing(ROOT / GALLERY)}
    reports |= {f"studies/{path.parent.name}.md": path for path in sorted(ROOT.glob(STUDIES))}
    for name, source in reports.items():
        text = source.read_text()
        files.append(File.generated(config, name, content=text))
        for picture in re.findall(r"!\[.*?\]\(([^):]+)\)", text):
            found = str(existing(source.parent / picture))
            files.append(File.generated(config, str(Path(name).parent / picture), abs_src_path=found))
    for path in sorted((ROOT / "docs" / "notebooks").glob("*.ipynb")):
        page = notebook_page(path)
        files.append(File.generated(config, f"notebooks/{path.stem}.md", content=page.markdown))
        for name, content in page.pictures.items():
            files.append(File.generated(config, f"notebooks/{name}", content=content))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Fill in what comments such as ``<!-- derivation: count -->`` ask for, and link names such as `tc.rule`."""
    parts = re.split(r"(^```.*?^```$)", markdown, flags=re.M | re.S)
    for k in range(0, len(parts), 2):  # between fences
        parts[k] = re.sub(r"(?<!\[)`tc\.(\w+(?:\.\w+)*)`", r"[`tc.\1`][twoclocks.\1]", parts[k])
        parts[k] = re.sub(r"<!-- (\w+)(?:: ([\w-]*))? -->", lambda found: _fill(found[1], found[2]), parts[k])
    return "".join(parts)


def on_post_page(output: str, page: Any, **_: Any) -> str:
    """The script that searches pages opened from the disk comes with the site; sources are named from the root."""
    shim = get_relative_url("assets/iframe-worker/shim.js", page.url)
    return output.replace("https://unpkg.com/iframe-worker/shim", shim).replace("build/package/twoclocks/", "")


def on_post_template(output_content: str, template_name: str, **_: Any) -> str:
    """No 404.html: its links would hold only at the root of a host, and a host has its own."""
    return "" if template_name == "404.html" else output_content


def _fill(kind: str, name: str | None) -> str:
    if kind == "commands":
        return "\n\n".join([cli_help(""), *(f"### {command}\n\n{cli_help(command)}" for command in COMMANDS)])
    if kind == "derivation":
        return derivation_text(tc.theory.derive(str(name)))
    if kind == "criteria":
        return criteria_table()
    if kind in ("slow", "varies", "run"):  # marks for the tests
        return ""
    raise ValueError(f"no page can ask for {kind!r}; known: commands, derivation, criteria, slow, varies, run")


def existing(path: Path) -> Path:
    """The path, once it is sure that a page can show the file."""
    if not path.is_file():
        raise PluginError(f"{path.relative_to(ROOT)} is missing, and a page shows it: restore it, or make it again")
    return path


def cli_help(command: str) -> str:
    """What ``twoclocks COMMAND --help`` prints in 88 columns."""
    arguments = [sys.executable, "-m", "twoclocks", *command.split(), "--help"]
    environment = {**os.environ, "COLUMNS": "88", "NO_COLOR": "1"}
    done = subprocess.run(arguments, capture_output=True, text=True, env=environment, check=True, cwd=ROOT)
    return f'<div class="cli-help" markdown>\n\n```text\n{done.stdout.strip()}\n```\n\n</div>'


def derivation_text(derivation: Derivation) -> str:
    """The steps, examples and proofs of a derivation."""
    lines = [derivation.setting_latex, ""]
    for number, step in enumerate(derivation.steps, 1):
        lines += [f"**{number}.** {step.reason}.", "", f"$$\n{step.latex}\n$$", ""]
        if step.example is not None:
            lines += ["For example", "", f"$$\n{step.example.to_latex()}\n$$", ""]
    lines += ["Proved by computer algebra, where every posterior is the sum of Gaussians over the support itself:", ""]
    if not derivation.proved:
        raise ValueError(f"the derivation {derivation.name!r} is not proved")
    return "\n".join([*lines, *(f"- {proof.claim} ({proof.cases})" for proof in derivation.proofs), ""])


def criteria_table() -> str:
    """Every onset criterion with its words."""
    rows = [
        f"| `{c.name}` | {c.describe.replace('|', '/')} | {c.patience} | {', '.join(f'`{x}`' for x in c.columns)} |"
        for c in tc.CRITERIA.values()
    ]
    return "\n".join(["| name | criterion | evaluations in a row | metrics read |", "|---|---|---|---|", *rows])
