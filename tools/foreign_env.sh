#!/usr/bin/env bash
# Makes .foreign/NAME, an environment of its own for somebody else's program that a test runs as a client. It is
# never imported by edgesnn and never shares a process with it, so its licence and its pins stay its own.
#
#   tools/foreign_env.sh NAME REQUIREMENT...             with everything that the packages ask for
#   tools/foreign_env.sh --on-venv NAME REQUIREMENT...   small: the packages alone; what they import beside
#                                                        themselves (torch, numpy) they find in .venv
#
# The interpreter is .foreign/NAME/bin/python. Made again only when its requirements change. Without a network or
# a fitting package it says so and ends with 0: the tests that need it are skipped, each with its reason.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

on_venv=no
if [ "${1:-}" = --on-venv ]; then
  on_venv=yes
  shift
fi
if [ $# -lt 2 ] || [[ ! $1 =~ ^[a-z0-9][a-z0-9_-]*$ ]]; then
  echo "usage: tools/foreign_env.sh [--on-venv] NAME REQUIREMENT..." >&2
  exit 2
fi
name=$1
shift
folder=.foreign/$name
wanted="on .venv: $on_venv; $*"

if [ "$(cat "$folder/made.txt" 2>/dev/null)" = "$wanted" ] && "$folder/bin/python" -c '' 2>/dev/null; then
  exit 0
fi
echo "installing $* into $folder"
rm -rf "$folder"

options=()
make_environment() {
  .venv/bin/python -m venv --without-pip "$folder" || return
  if [ "$on_venv" = yes ]; then
    options+=(--no-deps)
    local paths='import sysconfig; print(sysconfig.get_path("purelib"))'
    .venv/bin/python -c "$paths" >"$("$folder/bin/python" -c "$paths")/venv.pth" || return
  fi
  .venv/bin/python -m pip --python "$folder/bin/python" install -qq "${options[@]}" "$@"
}

if make_environment "$@"; then
  printf '%s\n' "$wanted" >"$folder/made.txt"
else
  rm -rf "$folder"
  echo "note: $folder could not be made; the tests that need it will be skipped"
fi
