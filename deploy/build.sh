#!/bin/sh
# Installs tidegate into a new virtual environment, for an image or a host: `deploy/build.sh /opt/tidegate`.
# Nothing is installed whose hash is not in deploy/locks, and no dependency's code runs meanwhile.
# The rules for secrets are compiled into TARGET/cache: run with XDG_CACHE_HOME=TARGET/cache.
set -eu
target=${1:?usage: deploy/build.sh TARGET}
cd "$(dirname "$0")/.."

# For a wheel that is the same, byte for byte, whenever it is built.
export SOURCE_DATE_EPOCH="${SOURCE_DATE_EPOCH:-1767225600}" PIP_DISABLE_PIP_VERSION_CHECK=1

tools=$(mktemp -d)
trap 'rm -rf "$tools"' EXIT
locked() { python3 -m pip --python "$1/bin/python" install --quiet --only-binary :all: --require-hashes -r "$2"; }

python3 -m venv --without-pip "$tools"
locked "$tools" deploy/locks/build.txt
"$tools/bin/python" -m hatchling build -t wheel -d "$tools/dist"

python3 -m venv --without-pip "$target"
locked "$target" deploy/locks/all.txt
python3 -m pip --python "$target/bin/python" install --quiet --no-deps --no-index "$tools"/dist/*.whl

XDG_CACHE_HOME=$target/cache "$target/bin/tidegate" redact rules >/dev/null
chmod -R go+rX "$target"
