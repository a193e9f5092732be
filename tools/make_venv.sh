#!/usr/bin/env bash
# Makes the virtual environment .venv with the first Python >= 3.11 that runs.
# PYTHON=... names another one. Where Debian's python3 lacks venv, it is installed if apt and root are there.
set -euo pipefail

usable() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }
can_make_venv() { "$1" -c 'import ensurepip, venv' >/dev/null 2>&1; }

python=""
for candidate in ${PYTHON:+"$PYTHON"} python3.11 python3.12 python3.13 python3.14 python3 python; do
  if usable "$candidate"; then
    python=$candidate
    break
  fi
  if [ "$candidate" = "${PYTHON:-}" ]; then
    echo "error: PYTHON=$PYTHON does not run or is older than 3.11" >&2
    exit 1
  fi
done
if [ -z "$python" ]; then
  echo "error: no Python 3.11 or newer found; install one or name it: make PYTHON=/path/to/python3" >&2
  exit 1
fi

if ! can_make_venv "$python"; then
  package=$("$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "installing $package, which $python lacks"
    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "$package"
  fi
  if ! can_make_venv "$python"; then
    echo "error: $python has no venv module; as root: apt-get install $package" >&2
    exit 1
  fi
fi

rm -rf .venv
"$python" -m venv .venv
