PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt
# torch's build without CUDA, a tenth of the download; where there is no NVIDIA GPU it is all there is use for
CPU_TORCH := --no-deps --retries 0 --timeout 10 --index-url https://download.pytorch.org/whl/cpu
AVX2 := ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 MKL_ENABLE_INSTRUCTIONS=AVX2
# a worker keeps a stretch of neighbouring tests, which share what they train and import
SIDE_BY_SIDE := -n 2 --dist worksteal

.PHONY: run test test-fast test-all test-avx2 test-lowest test-newest test-browser test-slurm lint style types docs bench bench-training clean
.PHONY: gpu gpu-wheels release

run: .venv/run                ## the quick preset: both clocks of a GPT and a DiT
	$(BIN)/twoclocks run

test: style                   ## everything CI checks; types beside the tests, for mypy takes one core for a while
	$(MAKE) --no-print-directory -j 2 types test-fast

test-fast: .venv/installed    ## the fast tests alone
	$(BIN)/pytest $(SIDE_BY_SIDE) -m "not slow and not browser"

test-all: lint                ## the slow tests too
	$(BIN)/pytest $(SIDE_BY_SIDE)

test-avx2: .venv/installed    ## training as on a processor with AVX2 and no bf16 instructions
	$(AVX2) $(BIN)/pytest $(SIDE_BY_SIDE) -m "not slow and not browser" tests/models tests/empirics/test_hardware.py tests/empirics/test_training.py

test-lowest test-newest: test-%: .venv-%/installed ## the fast tests with the lowest, the newest dependencies
	.venv-$*/bin/pytest $(SIDE_BY_SIDE) -m "not slow and not browser"

test-browser: .venv/installed ## the report, in headless Chromium (Debian: chromium)
	$(BIN)/pytest tests/browser -p no:xdist

test-slurm: .venv/installed   ## a sweep by a real Slurm, as root (Debian: slurm-wlm)
	TWOCLOCKS_SLURM=1 $(BIN)/pytest tests/slurm -p no:xdist

lint: style types

style: .venv/installed        ## style, and that imports point one way
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: .venv/installed
	MYPYPATH=.venv/typing $(BIN)/mypy -p twoclocks

docs: .venv/installed         ## the documentation site, in build/site
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

bench: .venv/peers            ## measured against peers, one process, one thread; writes tests/benchmarks/results
	mkdir -p .benchmarks
	$(BIN)/pytest tests/benchmarks --benchmark-only -p no:xdist --benchmark-json=.benchmarks/raw.json
	$(BIN)/python tests/benchmarks/table.py .benchmarks/raw.json

bench-training: .venv/peers   ## training steps against peers
	$(BIN)/python tests/benchmarks/training_speed.py
	$(BIN)/python tests/benchmarks/masked_speed.py

# From what is committed, in a clean copy: setuptools would pack what an earlier build left behind. Nothing is uploaded.
release: build/release/tools  ## sdist and wheel, in dist/: built, checked, and the wheel tried in an empty environment
	rm -rf dist build/release/source && mkdir -p build/release/source
	git archive HEAD | tar -x -C build/release/source
	build/release/tools/bin/python -m build --outdir dist build/release/source
	build/release/tools/bin/twine check --strict dist/*
	build/release/tools/bin/check-wheel-contents dist/*.whl
	build/release/tools/bin/python tests/wheel_alone.py dist/*.whl

build/release/tools:
	$(PYTHON) -m venv $@
	$@/bin/pip install --quiet --disable-pip-version-check build twine check-wheel-contents

# On a fresh machine with a GPU, torch and no network: make gpu TIME=8m OUT=gpu-results SCALE=paper DEVICE=auto. The next
# call goes on from the files in OUT alone; `twoclocks merge OUT` brings them into the results.
GPU_PYTHON ?= python3
TIME ?= 8m
OUT ?= gpu-results
SCALE ?= paper
DEVICE ?= auto
gpu:                          ## the tests and speeds of a GPU, then the queue of runs, until TIME is over
	$(GPU_PYTHON) tests/gpu/call.py --max-time $(TIME) --out $(OUT) --preset $(SCALE) --device $(DEVICE) $(GPU_OPTIONS)

# What such a machine lacks: make gpu-wheels GPU_VERSION=3.12 GPU_WHEELS="pandas scipy"
GPU_VERSION ?= 3.12
GPU_WHEELS ?= lazy-loader matplotlib contourpy cycler fonttools kiwisolver packaging pillow pyparsing numpy pandas \
  python-dateutil six pyarrow safetensors scipy sympy mpmath tqdm pytest iniconfig pluggy pygments einops smalldiffusion
gpu-wheels:                   ## wheels to bring to a machine without a network, into wheels/
	$(PYTHON) -m pip download --quiet --no-deps --only-binary=:all: --python-version $(GPU_VERSION) \
	  --platform manylinux_2_28_x86_64 --platform manylinux_2_17_x86_64 --platform manylinux2014_x86_64 \
	  -d wheels $(GPU_WHEELS)

.venv/peers: .venv/installed  # smalldiffusion asks for torchvision, which its networks do not need
	$(PIP) einops accelerate transformers
	$(PIP) --no-deps smalldiffusion
	touch $@

.venv/installed: .venv/run
	@echo "Installing what tests and documentation need besides."
	$(PIP) -e '.[dev]'
	mkdir -p .venv/typing && ln -sfn ../.. .venv/typing/twoclocks  # lets mypy see the root as the package twoclocks
	touch $@

.venv/run: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	@echo "Installing what a run needs into .venv: torch first, then the rest; a minute or two."
	@case "$$(uname)" in Linux) command -v nvidia-smi > /dev/null || $(PIP) $(CPU_TORCH) torch \
	  || echo "torch's CPU index cannot be reached; taking its default build" ;; esac
	$(PIP) -e .
	touch $@

.venv-%/installed: pyproject.toml constraints-%.txt
	$(PYTHON) -m venv .venv-$*
	.venv-$*/bin/pip install --quiet --disable-pip-version-check -c constraints-$*.txt -e '.[dev]'
	touch $@

clean:
	rm -rf .venv .venv-lowest .venv-newest build dist *.egg-info
