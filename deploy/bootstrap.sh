#!/bin/sh
# Makes .venv and installs locked, hashed requirements into it. usage: deploy/bootstrap.sh server|test
set -eu
kind=$1
python=${PYTHON:-python3}
as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }
if [ ! -x .venv/bin/python ]; then
    if ! "$python" -c 'import ensurepip' 2>/dev/null; then
        echo "muniment: this Python has no venv support yet; installing python3-venv" >&2
        as_root apt-get update -qq
        as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq python3-venv
    fi
    "$python" -m venv .venv
fi
[ -x .venv/bin/uv ] || .venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.txt
.venv/bin/uv pip install --quiet --python .venv/bin/python --require-hashes -r "requirements/$kind.txt"
.venv/bin/uv pip install --quiet --python .venv/bin/python --no-deps --no-build-isolation --editable .
if [ "$kind" = test ]; then # hundreds of processes start in the tests, in places that keep no bytecode of their own
    .venv/bin/python -m compileall -q -j 2 .venv/lib/python3*/site-packages src bench >/dev/null || true
fi
touch ".venv/.$kind"
