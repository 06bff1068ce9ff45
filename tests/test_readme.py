"""Every Python snippet of the README runs as shown, top to bottom."""

import re
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"


def test_snippets_run(tmp_path, monkeypatch):
    snippets = re.findall(r"```python\n(.*?)```", README.read_text(), flags=re.S)
    assert len(snippets) >= 5
    code = (
        "\n".join(snippets)
        .replace('"paper_figures/', f'"{README.parent}/paper_figures/')
        .replace("steps=1000", "steps=30")
    )
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    exec(compile(code, str(README), "exec"), names)
    assert names["run"].status == "finished"
    assert 0 < names["chance"] < 1e-3
