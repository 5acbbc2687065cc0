# Every target makes the environment that it needs. `make help` lists them.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= python3
PYTEST_ARGS ?= -n 3 --dist loadfile --no-loadscope-reorder
VENV := .venv
BIN := $(VENV)/bin
UV := .build/installer/bin/uv
LOCK := $(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url --no-emit-find-links --upgrade

# What decides, without I/O of its own: tested to the last branch, with no real part.
PURE := meshca/errors.py,meshca/secret.py,meshca/duration.py,meshca/validity.py,meshca/printable.py,meshca/backoff.py,meshca/quota.py,meshca/csr.py,meshca/public_key.py,meshca/der.py,meshca/identity/*,meshca/admission/*,meshca/svid/*,meshca/discovery/*,meshca/authz/*,meshca/config/*,meshca/sidecar/*,meshca/ledger/*,meshca/doctor/*,meshca/authority/adoption.py,meshca/authority/history.py,meshca/authority/lifecycle.py,meshca/authority/leaves.py,meshca/authority/given.py,meshca/authority/fleet.py,meshca/authority/straggling.py,meshca/authority/gate.py,meshca/authority/left_behind.py,meshca/authority/drafting.py,meshca/authority/planning.py,meshca/authority/intermediates.py,meshca/authority/requests.py,meshca/delivery.py,meshca/rotation/*,meshca/issuance.py,meshca/decision.py
PURE_TESTS := tests/test_errors.py tests/test_der.py tests/test_secret.py tests/test_duration.py tests/test_validity.py tests/test_printable.py tests/test_backoff.py tests/test_quota.py tests/test_public_key.py tests/test_csr.py tests/test_csr_names.py tests/identity tests/admission tests/svid tests/discovery tests/authz tests/config tests/sidecar tests/ledger tests/doctor tests/authority/test_history.py tests/authority/test_lifecycle.py tests/authority/test_leaves.py tests/authority/test_given.py tests/authority/test_fleet.py tests/authority/test_fleet_without_pods.py tests/authority/test_straggling.py tests/authority/test_gate.py tests/authority/test_left_behind.py tests/authority/test_drafting.py tests/authority/test_planning.py tests/authority/test_planning_course.py tests/authority/test_planning_laws.py tests/authority/test_intermediates.py tests/authority/test_requests.py tests/test_delivery.py tests/rotation tests/test_issuance.py tests/test_issuance_for_workload.py tests/test_issuance_outside.py tests/test_decision.py tests/authority/test_adoption.py

.PHONY: help demo test test-kube coverage check proto bench lock clean env format

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

env: $(VENV)/.ready ## make the Python environment in .venv from the hash-pinned lock

demo: export MESHCA_DEMO_STARTED := $(shell date +%s)
demo: $(VENV)/.ready ## the main job on this machine: a CA, three workloads with real Envoys, one policy; UPSTREAM=vault: with OpenBao
	$(BIN)/meshca demo $(if $(UPSTREAM),--upstream $(UPSTREAM))

test: $(VENV)/.ready ## every suite whose real part is here; names the ones it leaves out
	$(BIN)/python -m pytest $(PYTEST_ARGS)

test-kube: $(VENV)/.ready ## the suites that need a Kubernetes API server: builds and starts a real one (needs Go); KUBECONFIG names another
	$(BIN)/python -m tests.e2e.kube.control_plane $(BIN)/python -m pytest $(PYTEST_ARGS) tests/e2e/kube

coverage: $(VENV)/.ready ## branch coverage of the pure rooms, which must be 100 %
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest $(PYTEST_ARGS) -q -m "not real" $(PURE_TESTS)
	$(BIN)/coverage combine -q
	$(BIN)/coverage report --include="$(PURE)" --fail-under=100

check: $(VENV)/.ready ## format, lint, types, import contract, layout of tests, generated code, lock files
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	@said=$$($(BIN)/lint-imports --no-logo 2>&1) || { echo "$$said"; exit 1; }
	$(BIN)/python tools/check_layout.py
	$(BIN)/python tools/generate_proto.py --check
	$(BIN)/python tools/check_locks.py

format: $(VENV)/.ready ## rewrite the code in the house format
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format --quiet .

proto: $(VENV)/.ready ## generate meshca/_proto from proto/
	$(BIN)/python tools/generate_proto.py

bench: $(VENV)/.ready ## measure, print a table, write bench/results.json
	$(BIN)/python -m bench

lock: $(UV) ## rewrite the lock files from pyproject.toml
	$(LOCK) requirements/installer.in -o requirements/installer.txt
	$(LOCK) pyproject.toml -o requirements/runtime.txt
	$(LOCK) -c requirements/runtime.txt --all-extras --group dev pyproject.toml -o requirements/dev.txt

clean: ## remove everything that make made
	rm -rf $(VENV) .build .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache .coverage* bench/results.json

$(UV): requirements/installer.txt
	$(PYTHON) -m venv .build/installer
	.build/installer/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/installer.txt
	@touch $@

$(VENV)/.ready: $(UV) requirements/dev.txt pyproject.toml
	$(UV) venv --quiet --allow-existing --python $(PYTHON) $(VENV)
	$(UV) pip sync --quiet --python $(BIN)/python --require-hashes requirements/dev.txt
	$(UV) pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --no-index --editable .
	@touch $@
