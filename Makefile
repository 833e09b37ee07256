# make demo · make test · make check · make bench: each prepares what it needs in .venv first.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip --disable-pip-version-check

.PHONY: help demo test check format bench fuzz build clean

help:
	@echo "make demo    install, train on the bundled text, generate; leaves runs/demo"
	@echo "make test    the whole test suite"
	@echo "make check   linters and type checks"
	@echo "make bench   the benchmarks"
	@echo "make fuzz    ten minutes of random text for the core, under sanitizers"

demo: $(VENV)/installed
	$(BIN)/onward train --out runs/demo --overwrite
	$(BIN)/onward generate runs/demo --prompt "ROMEO:" --max-tokens 150

test: $(VENV)/installed-dev
	$(BIN)/python -m pytest -n auto --dist worksteal
	$(BIN)/python -m pytest -m compiled --jaxtyping-packages=

check: $(VENV)/installed-dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/clang-format --dry-run --Werror csrc/*.cpp csrc/*.hpp

format: $(VENV)/installed-dev
	$(BIN)/ruff check --fix
	$(BIN)/ruff format
	$(BIN)/clang-format -i csrc/*.cpp csrc/*.hpp

bench: $(VENV)/installed-dev
	for benchmark in benchmarks/*.py; do $(BIN)/python $$benchmark || exit 1; done

# The core under the address and undefined-behaviour sanitizers, on random text, for ten minutes.
fuzz: $(VENV)/tools
	$(BIN)/cmake -S . -B build/fuzz -G Ninja -DONWARD_FUZZ=ON
	$(BIN)/cmake --build build/fuzz
	build/fuzz/fuzz 600

build: $(VENV)/installed

clean:
	rm -rf $(VENV) build

# The build tools stay in .venv, so that a change in csrc/ rebuilds only what it touches.
$(VENV)/tools: constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "onward needs Python 3.11 or newer; choose one with: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@$${CXX:-c++} --version > /dev/null 2>&1 || \
		{ echo "onward needs a C++20 compiler: apt install g++ (Debian, Ubuntu), dnf install gcc-c++ (Fedora), xcode-select --install (macOS)"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet --constraint constraints.txt cmake ninja nanobind scikit-build-core
	@touch $@

CORE := CMakeLists.txt pyproject.toml $(wildcard csrc/*)

$(VENV)/installed: $(VENV)/tools $(CORE)
	$(PIP) install --quiet --constraint constraints.txt --no-build-isolation --editable .
	@touch $@

$(VENV)/installed-dev: $(VENV)/installed
	$(PIP) install --quiet --constraint constraints.txt --no-build-isolation --editable '.[dev]'
	@touch $@
