"""Tables as people write them: read to the same numbers where that is certain, refused in one line where it is not."""

from __future__ import annotations

import gzip
import io
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import twoclocks as tc
from twoclocks.empirics.statistics.runs_file import read_runs_by_line
from twoclocks.empirics.statistics.written_numbers import Marks, find_marks

COLUMNS = ["model", "rule", "n_train", "seed", "tau_mem_lower", "tau_mem_upper"]
ROWS = [("a", "p", n, s, n * (1.5 + 0.1 * s), n * (1.8 + 0.12 * s)) for n in (64, 128, 256) for s in range(3)]
TABLE = pd.DataFrame(ROWS, columns=COLUMNS)
TABLE.loc[8, "tau_mem_upper"] = np.inf


def written(separator: str = ",", decimal: str = ".", ends: str = "\n", quote: str = "", form: str = ".2f") -> str:
    def cell(value: object) -> str:
        text = format(value, form).replace(".", decimal) if isinstance(value, float) else str(value)
        return f"{quote}{text}{quote}"

    rows = [COLUMNS, *TABLE.itertuples(index=False)]
    return ends.join(separator.join(map(cell, row)) for row in rows) + ends


def read(tmp_path: Path, content: str | bytes, **options: object) -> pd.DataFrame:
    path = tmp_path / "runs"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return tc.read_runs_csv(path, **options)  # type: ignore[arg-type]


def parquet(df: pd.DataFrame) -> bytes:
    buffer = io.BytesIO()
    df.to_parquet(buffer)
    return buffer.getvalue()


WITH_INF = TABLE.assign(tau_mem_upper=TABLE["tau_mem_upper"].astype(object).where(TABLE["tau_mem_upper"] < 1e9, "inf"))
READABLE: dict[str, str | bytes] = {
    "commas": written(),
    "semicolons": written(";"),
    "semicolons, decimal commas": written(";", ","),
    "tabs": written("\t"),
    "tabs, decimal commas": written("\t", ","),
    "bars": written("|"),
    "quotes": written(quote='"'),
    "quoted decimal commas": written(decimal=",", quote='"'),
    "Windows line ends": written(ends="\r\n"),
    "old Macintosh line ends": written(ends="\r"),
    "blank lines": written(ends="\n\n"),
    "blanks about names and cells": written(" , "),
    "separators after the last cell": written(";").replace("\n", ";\n"),
    "empty rows of a spreadsheet": written() + ",,,,,\n   \n",
    "the separator in a line of its own": "sep=;\n" + written(";"),
    "UTF-8 with a mark": b"\xef\xbb\xbf" + written().encode(),
    "UTF-16": written("\t").encode("utf-16"),
    "UTF-16 without a mark": written().encode("utf-16-le"),
    "UTF-16, big end first": written().encode("utf-16-be"),
    "UTF-32": written().encode("utf-32"),
    "powers of ten": written(form=".4e"),
    "powers of ten, decimal commas": written(";", ",", form=".4e"),
    "Infinity": written().replace("inf", "Infinity"),
    "the sign of infinity": written().replace("inf", "∞"),
    "an index": TABLE.to_csv(),
    "gzip": gzip.compress(written().encode()),
    "JSON records": WITH_INF.to_json(orient="records"),
    "JSON columns": WITH_INF.to_json(),
    "JSON split": WITH_INF.to_json(orient="split"),
    "JSON index": WITH_INF.to_json(orient="index"),
    "JSON lists": json.dumps({name: WITH_INF[name].tolist() for name in COLUMNS}),
    "JSON with infinities": json.dumps(TABLE.to_dict("records")),
    "JSON in UTF-16": WITH_INF.to_json(orient="records").encode("utf-16"),
    "JSON lines": WITH_INF.to_json(orient="records", lines=True),
    "Parquet": parquet(TABLE),
    "Parquet with an index": parquet(TABLE.set_index("seed")),
    "Parquet of categories and nullable integers": parquet(TABLE.astype({"rule": "category", "n_train": "Int64"})),
}


@pytest.mark.parametrize("kind", READABLE)
def test_a_table_reads_the_same_however_it_is_written(tmp_path: Path, kind: str) -> None:
    df = read(tmp_path, READABLE[kind])
    assert df["rule"].tolist() == ["p"] * 9
    for name in ("n_train", "tau_mem_lower", "tau_mem_upper"):
        assert df[name].to_numpy(float) == pytest.approx(TABLE[name].to_numpy(), rel=1e-3), name
    fit = tc.fit_scaling(df, n_boot=0)
    assert fit.exponent == pytest.approx(tc.fit_scaling(TABLE, n_boot=0).exponent, rel=1e-3)


HEADER = ",".join(COLUMNS)
REFUSED: dict[str, tuple[str | bytes, str]] = {
    "a cell too many": (HEADER + "\na,p,64,0,100,120,7\n", "line 2 has 7 cells, the header 6"),
    "decimal commas between commas": (HEADER + "\na,p,64,0,100,0,120,0\n", "line 2 has 8 cells, .*in quotes"),
    "a cell too few": (written() + "\na,p,64\n", "line 12 has 3 cells, the header 6"),
    "an index without a name in the header": (written().replace("\na,", "\n0,a,"), "line 2 has 7 cells"),
    "1e999": (written().replace("inf", "1e999"), "line 10: tau_mem_upper is 1e999, beyond the range of numbers"),
    "1e-999": (written().replace("96.00", "1e-999"), "line 2: tau_mem_lower is 1e-999, beyond the range"),
    "1e999 in JSON": (WITH_INF.to_json(orient="records").replace('"inf"', "1e999"), "1e999 is beyond"),
    "NA for an onset": (written().replace("inf", "NA"), "line 10: tau_mem_upper is 'NA', not a number; write inf"),
    "no upper end": (written().replace("inf", ""), "line 10: tau_mem_upper is missing; write inf"),
    "null in JSON": (TABLE.to_json(orient="records"), "tau_mem_upper is missing; write inf"),
    "both decimal marks": (written(";").replace("96.00", "96,00"), "comma and point both mark decimals: line 2: "),
    "1,234 alone": (
        "seed;tau_mem_lower;tau_mem_upper\n0;1,234;2,345\n1;900;1,234\n",
        "line 2: tau_mem_lower is 1,234, which may be a decimal or a thousands mark",
    ),
    "1.234 between semicolons": (
        "seed;tau_mem_lower;tau_mem_upper\n0;1.234;2.345\n1;900;1.234\n",
        "line 2: tau_mem_lower is 1.234, which may be",
    ),
    "one name twice": (written().replace("rule", "model"), "two columns are called 'model'"),
    "one JSON key twice": ('[{"seed": 1, "seed": 2}]', "the key 'seed' stands twice"),
    "a truth value in JSON": (WITH_INF.to_json(orient="records").replace("96.0,", "true,"), "is True, not a number"),
    "Latin-1": (written().replace("p,", "é,").encode("latin-1"), "line 2: byte 0xe9 is not utf-8; .*iconv"),
    "half a UTF-16 file": (written().encode("utf-16")[:-1], "is not utf-16"),
    "a comment": ("# mine\n" + written(), "line 1 begins with '#'"),
    "blanks between columns": (TABLE.to_string(index=False), "separated by blanks"),
    "a single column": ("a\n1\n", "has a single column"),
    "an open quote": (written() + '"a,p,64,9,1,2\n', "line 11: "),
    "nothing": ("", "it holds no header"),
    "a header alone": (HEADER + "\n", "it holds no runs"),
    "an empty list": ("[]", "it holds no runs"),
    "an Excel sheet": (b"PK\x03\x04" + bytes(20), "save the sheet as CSV"),
    "a picture": (b"\x89PNG\r\n\x1a\n" + bytes(20), "binary file"),
    "a pickle": (b"\x80\x04\x95" + bytes(20), "binary file"),
    "half a gzip file": (gzip.compress(written().encode())[:50], "compressed and damaged"),
    "half a Parquet file": (parquet(TABLE)[:200], "no readable Parquet file"),
    "half a JSON file": (WITH_INF.to_json(orient="records", indent=1)[:-30], "line [0-9]+ is no JSON"),
    "a bad line of JSON": (WITH_INF.to_json(orient="records", lines=True) + "{x\n", "line 10 is no JSON"),
    "JSON too deep": ("[" * 100_000, "nests too deep"),
    "JSON of lists": ("[[1, 2]]", "run 0 is no object"),
    "JSON of objects in cells": ('[{"seed": {"a": 1}}]', "seed holds lists or objects"),
    "JSON columns of two lengths": ('{"seed": [1], "n": [1, 2]}', "different lengths"),
    "one end of an onset": (written().replace("tau_mem_upper", "tau"), "tau_mem_lower but no tau_mem_upper"),
    "one column of an onset": (
        TABLE.drop(columns="tau_mem_lower").rename(columns={"tau_mem_upper": "tau_mem"}).to_csv(index=False),
        "add --tau tau_mem --grid-ratio R",
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_in_doubt_is_refused_in_one_line(tmp_path: Path, kind: str) -> None:
    content, message = REFUSED[kind]
    with pytest.raises(ValueError, match=message) as caught:
        read(tmp_path, content)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(str(tmp_path / "runs"))


def test_tables_that_would_fill_the_memory_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for limit, content, message in (
        ("_MOST_BYTES", written(), "more than"),
        ("_MOST_BYTES", gzip.compress(written().encode() * 50), "more than"),
        ("_MOST_JSON", WITH_INF.to_json(orient="records"), "of JSON; save so large a table as CSV or Parquet"),
        ("_MOST_CELLS", parquet(TABLE), "9 rows of 6 columns"),
    ):
        with monkeypatch.context() as patched:
            patched.setattr(f"twoclocks.empirics.statistics.runs_file.{limit}", 50)
            with pytest.raises(ValueError, match=message):
                read(tmp_path, content)


def test_rules_called_none_are_text_and_a_missing_one_is_missed(tmp_path: Path) -> None:
    df = read(tmp_path, HEADER + "\na,NA,64,0,100,120\na,None,64,0,100,120\nnull,nan,64,1,100,120\n")
    assert df["rule"].tolist() == ["NA", "None", "nan"]
    assert df["model"].tolist() == ["a", "a", "null"]
    empty = read(tmp_path, HEADER + "\na,,64,0,100,120\na,p,64,1,100,120\n")
    with pytest.raises(ValueError, match="row 0: rule is missing"):
        tc.fit_scaling(empty)


def test_other_columns_have_the_type_of_all_their_cells(tmp_path: Path) -> None:
    text = "seed;G;share;done;note;tau_lower;tau_upper\n0;2;0,5;True;1e999;1,5;2,5\n1;3;;False;7;1,5;inf\n"
    df = read(tmp_path, text)
    assert [df[name].dtype.kind for name in ("seed", "G", "share", "done", "note")] == ["i", "i", "f", "b", "O"]
    assert df["share"].iloc[0] == 0.5
    assert np.isnan(df["share"].iloc[1])
    assert df["note"].tolist() == ["1e999", "7"]


def test_messages_of_a_fit_name_the_line_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "runs.csv"
    path.write_text("\n" + written(ends="\n\n") + "a,p,64,0,1,2\n")
    with pytest.raises(ValueError, match="line 22: a second run with model=a, rule=p, n_train=64"):
        tc.fit_scaling(read_runs_by_line(path))


SINGLE = (
    "seed,n_train,tau_mem,end\n0,64,120,900\n1,64,144,900\n0,128,252,900\n1,128,302,900\n0,256,516,800\n1,256,inf,700\n"
)


@pytest.mark.parametrize(
    ("options", "lower", "last"),
    [
        ({"grid_ratio": 1.2, "last_step": 600}, 100.0, 600.0),
        ({"grid_ratio": 1.2, "last_step": "600"}, 100.0, 600.0),
        ({"grid_step": 20, "last_step": "end"}, 100.0, 700.0),
        ({"grid_step": 200, "last_step": "end"}, 0.0, 700.0),
    ],
)
def test_one_column_and_the_grid_of_evaluations_make_both_ends(
    tmp_path: Path, options: dict, lower: float, last: float
) -> None:
    df = read(tmp_path, SINGLE, tau="tau_mem", **options)
    assert df["tau_mem_lower"].iloc[0] == pytest.approx(lower)
    assert df["tau_mem_upper"].tolist() == [120, 144, 252, 302, 516, np.inf]
    assert df["tau_mem_lower"].iloc[5] == last


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tau": "tau_mem"}, "either --grid-ratio R or --grid-step S"),
        ({"tau": "tau_mem", "grid_ratio": 1.2, "grid_step": 9}, "either --grid-ratio R or --grid-step S"),
        ({"tau": "tau_mem", "grid_ratio": 1.2}, "line 7: tau_mem is inf, .* by --last-step"),
        ({"tau": "tau_mem", "grid_ratio": 1.0}, "above 1, got 1.0"),
        ({"tau": "tau_mem", "grid_ratio": float("nan")}, "grid_ratio must be a number"),
        ({"tau": "tau_mem", "grid_step": 0}, "above 0, got 0"),
        ({"tau": "tau_mem", "grid_ratio": 1.2, "last_step": "fin"}, "neither a number nor a column"),
        ({"tau": "tau_mem", "grid_ratio": 1.2, "last_step": -1}, "positive and finite"),
        ({"tau": "tau", "grid_ratio": 1.2}, "no column 'tau'; it has seed, n_train"),
        ({"grid_ratio": 1.2}, "needs the column of the onsets"),
    ],
)
def test_a_grid_that_says_too_little_is_refused(tmp_path: Path, options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read(tmp_path, SINGLE, **options)


@settings(max_examples=200, deadline=None)
@given(st.floats(0.001, 1e9), st.sampled_from(".,"), st.sampled_from(["", " ", "'", "\u202f", "other"]), st.booleans())
def test_any_way_to_write_a_number_reads_back(value: float, decimal: str, thousands: str, signed: bool) -> None:
    other = "," if decimal == "." else "."
    mark = other if thousands == "other" else thousands
    text = f"{value:,.4f}".replace(",", "T").replace(".", decimal).replace("T", mark)
    assert Marks(decimal).number("+" * signed + text) == pytest.approx(value, abs=5e-5)
    assert find_marks([("here", text)], wary=True).decimal == decimal  # four decimals leave no doubt


@pytest.mark.parametrize("text", ["", "1_000", "0x10", "1,23,456", "12 34", "1e", "--1", "1.2.3,4", "٣", "nan", "True"])
def test_what_is_no_number_is_none(text: str) -> None:
    assert Marks(".").number(text) is None
