# The two commands a newcomer needs: `make demo` and `make test`. Each target is a few lines one could type by hand.
.DEFAULT_GOAL := help
BIN := .venv/bin
PYTEST_WORKERS ?= 2
export MUNIMENT_TEST_CLICKHOUSE_LIB ?= $(CURDIR)/.cache/clickhouse/node_modules/@chdb/lib-linux-x64-gnu/libchdb.so
ROOM ?=

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

.venv/.server: requirements/server.txt requirements/uv.txt deploy/bootstrap.sh pyproject.toml
	sh deploy/bootstrap.sh server
.venv/.test: requirements/test.txt .venv/.server
	sh deploy/bootstrap.sh test
.cache/.test-system: deploy/test-system.sh
	sh deploy/test-system.sh

setup: .venv/.server  ## install what the server needs into .venv
setup-test: .venv/.test .cache/.test-system  ## and what the tests need

demo: setup  ## a running server with a believable company, and a login link
	$(BIN)/muniment demo

lint: .venv/.test
	$(BIN)/ruff check src tests bench examples tools fuzz
	$(BIN)/ruff format --check src tests bench examples tools fuzz
	$(BIN)/mypy

test: export PYTHONDONTWRITEBYTECODE :=  # the tests start servers by the hundred; each would work all out again
test: setup-test lint  ## everything CI runs (ROOM=ledger for a part)
	$(BIN)/python -m pytest -n $(PYTEST_WORKERS) --dist loadfile --no-loadscope-reorder --hypothesis-profile=ci $(if $(ROOM),tests/$(ROOM),tests src/muniment)

.cache/sigma-peer/.made: requirements/sigma_peer.txt .venv/.test
	$(BIN)/python -m venv --without-pip .cache/sigma-peer
	$(BIN)/uv pip install --quiet --python .cache/sigma-peer/bin/python --require-hashes -r requirements/sigma_peer.txt
	touch $@

bench: setup-test .cache/sigma-peer/.made  ## the figures, beside PostgreSQL, SQLite and a loop over SQLite's Sigma queries (RULES=, EVENTS=: real ones)
	$(BIN)/python -m bench --sigma-peer .cache/sigma-peer/bin/python $(if $(RULES),--sigma-rules $(RULES)) $(if $(EVENTS),--sigma-events $(EVENTS)) $(if $(ONLY),$(addprefix --only ,$(ONLY)))

crash: .venv/.test  ## the long crash campaigns (R1 to R5)
	$(BIN)/python -m tests.faults.campaign --long

fuzz: setup-test  ## the long fuzz campaigns (R14), and the property tests with new examples
	$(BIN)/python fuzz/run.py --parser all --seconds $(or $(SECONDS),600)
	$(BIN)/python -m pytest -n $(PYTEST_WORKERS) -m hypothesis --hypothesis-profile=default tests

lock:  ## refresh the locked requirements
	sh deploy/lock.sh

clean:
	rm -rf .venv .cache var

.PHONY: help setup setup-test demo lint test bench crash fuzz lock clean
