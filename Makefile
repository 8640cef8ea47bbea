# Two commands from an empty clone: `make demo` and `make test`. Everything is installed into .venv in this folder. `make help` lists the
# everyday targets; checks.mk has the rest.
# Only the tests need torch. TORCH names the wheel to install: where no CPU wheel is at hand, torch==2.13.0 from the package index brings several GB of CUDA.
SHELL := /bin/bash
PYTHON ?= python3
TORCH ?= torch==2.13.0
VENV := .venv
BIN := $(VENV)/bin
CHECK := PYTHONPATH=$(CURDIR)/tests/support:$(CURDIR)/tests $(BIN)/python
# Tests by as many workers as there are cores, eight at most; one that has run out takes from the others. `make test WORKERS=1` runs as few.
# Those that hold times to a bound come behind the others, one by one.
WORKERS ?= auto
PYTEST := $(BIN)/python -m pytest -q --benchmark-disable
SIDE_BY_SIDE := -n $(WORKERS) --maxprocesses 8 --dist worksteal
INSTALL := $(BIN)/pip install -q --no-build-isolation --no-deps -Ccmake.define.JAHP_WERROR=ON -e .
CXX_FILES = $(shell find csrc kernels tests -name '*.[ch]pp' -o -name '*.cu' -o -name '*.cuh')
SOURCES := CMakeLists.txt pyproject.toml $(shell find csrc kernels -name '*.[ch]pp' -o -name '*.cu' -o -name '*.cuh' 2>/dev/null)

.PHONY: help demo test lint format bench cpp-test build web wheel sdist models-wheel docs check-all clean

# What follows `##` is what `make help` prints.
help:  ## this list
	@awk -F ':.*## *' '/^[a-z -]+:.*##/ { printf "make %-12s %s\n", $$1, $$2 }' Makefile

demo: $(VENV)/.built  ## one photo as .jahp, JPEG and WebP, and a page to compare them
	$(BIN)/jahp demo --out demo

test: $(VENV)/.test  ## all fast tests (minutes)
	$(PYTEST) $(SIDE_BY_SIDE) -m "not slow and not gpu and not alone"
	$(PYTEST) -m "alone and not slow and not gpu"

lint: $(VENV)/.lint  ## ruff, formats, import rules, mypy, stubs
	$(BIN)/ruff check .
	$(BIN)/ruff format --check --quiet .
	$(BIN)/clang-format --dry-run --Werror $(CXX_FILES)
	$(BIN)/lint-imports --no-logo
	$(BIN)/python -m mypy
	$(BIN)/python -m mypy --platform win32 --cache-dir .mypy_cache/win32
	$(BIN)/python -m mypy tests/checks/consumer.py
	$(BIN)/python -m mypy.stubtest --allowlist tests/checks/stubtest_allow.txt \
	  $$($(BIN)/python -c "import importlib.util as u; print(*(m for m in ('jahp_fast._native', 'jahp_fast._cuda') if u.find_spec(m)))")

format: $(VENV)/.lint  ## Python by ruff, C++ and CUDA by clang-format
	$(BIN)/ruff check --fix --quiet .
	$(BIN)/ruff format --quiet .
	$(BIN)/clang-format -i $(CXX_FILES)

bench: $(VENV)/.test  ## benchmarks, timed
	$(BIN)/python -m pytest -q benchmarks --benchmark-only --benchmark-columns=median,iqr,rounds --benchmark-group-by=group

cpp-test: $(VENV)/.base  ## the tests in C++
	PATH=$(CURDIR)/$(BIN):$$PATH cmake --workflow --preset test

build: $(VENV)/.base  ## the extension, built anew into .venv
	$(INSTALL)

# The codec for browsers, as the package web/ and the page web/demo/: any static server will do. Needs Node.js and the packages
# emscripten, clang-19 and lld-19.
WEB_MODELS := $(addprefix jahp_fast/weights/,mbt2018.safetensors mbt2018-ms-ssim.safetensors)
web: $(VENV)/.base web/dist/models/index.json  ## the codec for browsers, into web/dist
	for p in wasm wasm-threads; do PATH=$(CURDIR)/$(BIN):$$PATH cmake --preset $$p && $(BIN)/ninja -C build/$$p jahp_web || exit 1; done
	cp build/wasm/jahp.wasm build/wasm-threads/jahp-threads.wasm web/dist
	cp examples/photo.png web/demo

web/dist/models/index.json: web/tools/parts.mjs $(WEB_MODELS)
	rm -rf $(@D)
	node web/tools/parts.mjs $(@D) $(WEB_MODELS)

wheel sdist: $(VENV)/.base  ## packages into dist/
	$(BIN)/pip install -q build
	$(BIN)/python -m build --no-isolation --$@

models-wheel: $(VENV)/.base  ## the package of all releases' models, into dist/
	$(BIN)/pip wheel -q --no-build-isolation --no-deps -w dist packaging/models

# The documentation as a site, in build/docs; its tool has an environment of its own. Warnings are errors. NO_MKDOCS_2_WARNING quiets the
# theme's words on mkdocs 2, which is another program.
docs: $(VENV)-docs/.made  ## the documentation as a site, in build/docs
	NO_MKDOCS_2_WARNING=1 $(VENV)-docs/bin/mkdocs build --strict
	@echo "build/docs/index.html"

# The whole suite, the C++ tests, and the packages in environments of their own.
#
# In pairs, as most of them keep one core busy; what a pair prints comes target by target.
PAIRS := $(MAKE) --no-print-directory -j2 --output-sync=target
check-all: $(VENV)/.lint cpp-test  ## everything, in full (hours); checks.mk has its parts
	$(PAIRS) sanitize-all lint tsan msan asan-python roots
	$(PYTEST) $(SIDE_BY_SIDE) -m "not gpu and not alone"
	$(PYTEST) -m "alone and not gpu"
	$(PAIRS) s390x windows arm clang valgrind STREAMS=200
	$(PAIRS) wasm streams STREAMS=1000
	$(PAIRS) packages reproducible docs
	$(MAKE) digests
	$(MAKE) ray-and-browsers

clean:  ## removes what was built
	rm -rf build dist web/dist web/demo/photo.png $(VENV) $(VENV)-docs $(RAY) $(ASAN) $(SUPPLY) demo

$(VENV)/.base: requirements.lock requirements-library.txt
	@echo "Installing into $(VENV): about a minute the first time."
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q --require-hashes -r requirements.lock
	$(BIN)/pip install -q --require-hashes --no-deps -r requirements-library.txt
	touch $@

$(VENV)/.built: $(VENV)/.base $(SOURCES)
	$(INSTALL)
	touch $@

$(VENV)/.test: $(VENV)/.built requirements-dev.txt requirements-dev.lock
	@echo "Installing torch and what the tests need: about a minute the first time."
	$(BIN)/pip install -q "$(TORCH)"
	$(BIN)/pip install -q --require-hashes -r requirements-dev.lock
	$(BIN)/pip install -q -r requirements-dev.txt
	touch $@

$(VENV)/.lint: $(VENV)/.test requirements-lint.txt
	$(BIN)/pip install -q -r requirements-lint.txt
	touch $@

$(VENV)-docs/.made: requirements-docs.txt
	$(PYTHON) -m venv $(VENV)-docs
	$(VENV)-docs/bin/pip install -q -r requirements-docs.txt
	touch $@

include checks.mk
