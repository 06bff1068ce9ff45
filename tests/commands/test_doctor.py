"""`twoclocks doctor`: it says what is there."""

import pytest

from twoclocks.cli import main
from twoclocks.commands import doctor


def test_it_names_hardware_versions_and_extras(capsys, monkeypatch):
    monkeypatch.setattr(doctor, "_version", lambda package: "" if package == "submitit" else "1.2.3")
    main(["doctor", "--no-speed"])
    lines = {line.split("  ")[1]: line.split()[-1] for line in capsys.readouterr().out.splitlines() if line[0] == " "}
    assert lines["precision auto"] == "here"
    assert lines["torch"] == lines["lazy-loader"] == "1.2.3"
    assert {"hypothesis", "mypy"}.isdisjoint(lines)
    assert lines["slurm"] == "'twoclocks[slurm]'"
    assert lines["dask"] == "1.2.3"


@pytest.mark.parametrize(("flags", "precision"), [({"avx2"}, "fp32"), ({"avx2", "avx512_bf16"}, "bf16")])
def test_it_says_what_auto_means(capsys, monkeypatch, flags, precision):
    monkeypatch.setattr("twoclocks.empirics.hardware.processor_flags", lambda: frozenset(flags))
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    main(["doctor", "--no-speed"])
    said = capsys.readouterr().out
    assert f"means {precision} here" in said
    assert f"its instructions        {', '.join(sorted(flags))}\n" in said


@pytest.mark.parametrize(("native", "product"), [(True, "4.29 GFLOP/s"), (False, "0.0671 GFLOP/s")])
def test_the_speed_test_counts_operations_and_is_short_where_bf16_is_emulated(monkeypatch, native, product):
    monkeypatch.setattr(doctor, "_seconds", lambda action: 0.5)
    from twoclocks.empirics import hardware
    from twoclocks.empirics.sweeps import cost

    monkeypatch.setattr(hardware, "has_native_bf16", lambda device: native)
    monkeypatch.setattr(cost, "measure", lambda config, seconds: cost.Timing(1.0, 0.004, 0.5))
    lines = dict(doctor._speed())
    assert lines["fp32 product on cpu"] == "4.29 GFLOP/s"  # 2 * 1024^3 in half a second
    assert lines["bf16 product on cpu"] == product  # emulated: 2 * 256^3
    (gpt,) = [value for name, value in lines.items() if name.startswith("gpt-nano")]
    assert gpt.startswith("250 steps/s")


@pytest.mark.slow
def test_it_times_this_machine(capsys):
    main(["doctor"])
    assert capsys.readouterr().out.count("steps/s") == 2
