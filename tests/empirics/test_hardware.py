"""What ``"auto"`` becomes: flags faked both ways, and runs that began on another kind of machine."""

import dataclasses
import json
import time
import warnings

import pytest
import torch

import twoclocks as tc
from twoclocks.empirics import hardware
from twoclocks.empirics.config import RunConfig
from twoclocks.empirics.data import training_set
from twoclocks.empirics.engine import Engine
from twoclocks.empirics.hardware import hardware_text, resolve, resolve_device, resolve_precision

TINY = RunConfig(rule="parity:2x2,G=2", model="gpt-nano", n_train=4, steps=20, batch_size=8, n_eval=8, device="cpu")


@pytest.fixture
def processor(monkeypatch):
    """Gives the processor these flags, and torch no limits from the environment."""
    for variable in ("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: True)

    def become(*flags):
        monkeypatch.setattr(hardware, "_flags_of_processor", lambda: frozenset(flags))

    return become


@pytest.mark.parametrize(
    ("flags", "precision"),
    [
        (("avx2", "fma"), "fp32"),
        (("avx2", "avx512f", "avx512bw"), "fp32"),
        (("avx2", "avx512f", "avx512_bf16"), "bf16"),
        (("avx512f", "amx_bf16", "amx_tile"), "bf16"),
        (("asimd", "bf16"), "bf16"),
        (("asimd",), "fp32"),
        ((), "fp32"),
    ],
)
def test_the_processor_decides(processor, flags, precision):
    processor(*flags)
    assert resolve_precision("auto", "cpu") == precision
    assert resolve(TINY).precision == precision


@pytest.mark.parametrize("asked", ["fp32", "bf16"])
def test_what_is_asked_by_name_holds(processor, asked):
    processor("avx2")
    assert resolve_precision(asked, "cpu") == asked
    processor("avx512_bf16")
    assert resolve_precision(asked, "cpu") == asked


@pytest.mark.parametrize(
    ("variable", "value", "precision"),
    [
        ("ONEDNN_MAX_CPU_ISA", "AVX2", "fp32"),
        ("ONEDNN_MAX_CPU_ISA", "AVX512_CORE", "fp32"),
        ("ONEDNN_MAX_CPU_ISA", "AVX512_CORE_BF16", "bf16"),
        ("ONEDNN_MAX_CPU_ISA", "AVX512_CORE_AMX", "bf16"),
        ("ONEDNN_MAX_CPU_ISA", "DEFAULT", "bf16"),
        ("ATEN_CPU_CAPABILITY", "avx2", "fp32"),
        ("ATEN_CPU_CAPABILITY", "default", "fp32"),
        ("ATEN_CPU_CAPABILITY", "avx512", "bf16"),
    ],
)
def test_limits_of_the_environment_count(processor, monkeypatch, variable, value, precision):
    processor("avx2", "avx512_bf16")
    monkeypatch.setenv(variable, value)
    assert resolve_precision("auto", "cpu") == precision


@pytest.mark.parametrize(("capability", "precision"), [((7, 5), "fp32"), ((8, 0), "bf16"), ((9, 0), "bf16")])
def test_a_gpu_decides_by_its_capability(monkeypatch, capability, precision):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert resolve_precision("auto", "cuda:1") == precision


def test_auto_takes_a_gpu_where_there_is_one(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert resolve_device("auto") == "cuda"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert resolve_device("auto") == "cpu"


@pytest.mark.parametrize("device", ["tpu-7", "meta:x"])
def test_a_device_that_is_not_there_is_refused(device):
    with pytest.raises(ValueError, match=f"device '{device}' cannot be used here"):
        resolve_device(device)


def test_flags_are_read_as_linux_lists_them(tmp_path):
    listed = tmp_path / "cpuinfo"
    listed.write_text("processor\t: 0\nflags\t\t: fpu avx2 avx512_bf16\n\nprocessor\t: 1\nflags\t\t: fpu\n")
    assert hardware._flags_of_cpuinfo(listed) == {"fpu", "avx2", "avx512_bf16"}
    listed.write_text("processor\t: 0\nFeatures\t: fp asimd bf16\n")
    assert hardware._flags_of_cpuinfo(listed) == {"fp", "asimd", "bf16"}
    assert hardware._flags_of_cpuinfo(tmp_path / "none") == frozenset()


def test_the_text_says_what_is_emulated(processor):
    processor("avx2")
    assert hardware_text("cpu", "fp32") == "fp32 products on cpu, without bf16 instructions"
    assert hardware_text("cpu", "bf16").endswith("emulated, ten times slower than fp32")
    processor("avx512_bf16")
    assert hardware_text("cpu", "bf16") == "bf16 products on cpu, with AVX512-BF16"


@pytest.mark.parametrize(("first", "then"), [((), "avx512_bf16"), (("avx512_bf16",), "avx2")])
def test_a_run_keeps_the_precision_it_began_with(tmp_path, processor, monkeypatch, first, then):
    """Begun and killed on one kind of processor, resumed on the other: the metrics it would have had on the first."""
    processor(*first)
    whole = tc.train(TINY, tmp_path / "whole", progress=False)
    precision = "bf16" if first else "fp32"
    assert whole.hardware == {"device": "cpu", "precision": precision}
    assert (whole.result["precision"], whole.result["device"]) == (precision, "cpu")
    assert f"{precision} on cpu" in repr(tc.load_run(whole.path))
    assert json.loads((whole.path / "config.json").read_text())["precision"] == "auto"

    from twoclocks.empirics import training

    def killed(run, *rest):
        if rest[0]["step"] == 17:
            raise KeyboardInterrupt
        record(run, *rest)

    record = training.RunWriter.record
    monkeypatch.setattr(training.RunWriter, "record", killed)
    with pytest.raises(KeyboardInterrupt):
        tc.train(TINY, tmp_path / "cut", progress=False)
    monkeypatch.setattr(training.RunWriter, "record", record)
    processor(then)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        resumed = tc.train(TINY, tmp_path / "cut", resume=True, progress=False)
    assert [str(w.message) for w in said if "emulates" in str(w.message)] == (
        [] if precision == "fp32" else [f"the run in {resumed.path} goes on in bf16, which this machine emulates, "
                                        "ten times slower than fp32"]
    )  # fmt: skip
    assert resumed.hardware["precision"] == precision
    assert resumed.metrics.drop(columns="seconds").equals(whole.metrics.drop(columns="seconds"))


def test_a_run_that_began_on_a_gpu_goes_on_where_there_is_one(tmp_path, monkeypatch):
    run = tc.train(dataclasses.replace(TINY, device="auto"), tmp_path / "run", progress=False)
    (run.path / "result.json").unlink()
    found = json.loads((run.path / "hardware.json").read_text())
    (run.path / "hardware.json").write_text(json.dumps({**found, "device": "cuda:93"}))
    with pytest.raises(ValueError, match="began on cuda:93; resume it where there is one"):
        tc.train(run.config, run.path, resume=True, progress=False)


def test_an_older_run_folder_has_what_its_config_asks(tmp_path):
    run = tc.train(dataclasses.replace(TINY, precision="bf16"), tmp_path / "run", progress=False)
    (run.path / "hardware.json").unlink()
    assert tc.load_run(run.path).hardware == {"device": "cpu", "precision": "bf16"}
    assert tc.load_run(run.path).model().blocks[0].qkv.bf16


def test_a_default_run_trains_at_the_better_precision():
    """Seconds of a step, the best of some: where bf16 is emulated it is ten times slower than fp32, and never taken."""

    def step_seconds(precision):
        config = dataclasses.replace(TINY, rule="parity:4x6,G=3", n_train=64, batch_size=32, precision=precision)
        built = tc.rule(config.rule)
        engine = Engine(config, built, training_set(built, config.n_train, 0), None)
        times = []
        for _ in range(8):
            started = time.perf_counter()
            engine.advance()
            times.append(time.perf_counter() - started)
        return min(times)

    assert step_seconds("auto") < 2.5 * min(step_seconds("fp32"), step_seconds("bf16"))
