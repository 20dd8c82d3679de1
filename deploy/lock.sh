#!/bin/sh
# Recomputes requirements/*.txt from pyproject.toml and the .in files.
set -eu
lock() { .venv/bin/uv pip compile -q --generate-hashes --no-emit-index-url --no-header --no-annotate --python-version 3.11 "$@"; }
lock pyproject.toml requirements/build.in --extra server -o requirements/server.txt
lock requirements/test.in -o requirements/test.txt
lock requirements/uv.in -o requirements/uv.txt
lock requirements/sigma_peer.in -o requirements/sigma_peer.txt
