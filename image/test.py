"""The images as they are handed out: what is in them, and the server started from its root file system.

    image/test.py target/image/debug

The server runs as its user, 65532, in a read-only root with nothing but what its image has, an empty /dev and /proc and a
volume with manifests; that needs root, for chroot and a mount of its own.
"""

import gzip
import hashlib
import io
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import tarfile
import tempfile
import time
import urllib.error
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent


def image(path):
    """The configuration and the layers (tar files) of an OCI archive."""
    with tarfile.open(path) as archive:

        def blob(descriptor):
            algorithm, digest = descriptor["digest"].split(":")
            content = archive.extractfile(f"blobs/{algorithm}/{digest}").read()
            assert hashlib.sha256(content).hexdigest() == digest, descriptor
            return content

        index = json.load(archive.extractfile("index.json"))
        (only,) = index["manifests"]
        manifest = json.loads(blob(only))
        for layer in manifest["layers"]:
            assert layer["mediaType"] == "application/vnd.oci.image.layer.v1.tar+gzip", layer
        layers = [gzip.decompress(blob(layer)) for layer in manifest["layers"]]
        return json.loads(blob(manifest["config"])), layers


def files(layer):
    """What a layer has, by name."""
    with tarfile.open(fileobj=io.BytesIO(layer)) as tar:
        return {member.name: member for member in tar if not member.isdir()}


def ask(port, path):
    """The status and the body of an answer."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def check_filter(path):
    config, layers = image(path)
    # Istio reads the last layer, and in it the first file of this name.
    (name,) = files(layers[-1])
    assert name == "plugin.wasm", name
    with tarfile.open(fileobj=io.BytesIO(layers[-1])) as tar:
        module = tar.extractfile(name).read()
    assert module == (ROOT / "target/wasm/lanekeeper.wasm").read_bytes()
    assert module[:4] == b"\0asm"
    return config["config"]["Labels"]


def check_server(path):
    config, layers = image(path)
    told = config["config"]
    assert told["User"] == "65532:65532", told
    assert told["Entrypoint"] == ["/lanekeeper"], told
    assert set(told["ExposedPorts"]) == {"8080/tcp", "9443/tcp"}, told
    found = {name: member for layer in layers for name, member in files(layer).items()}
    assert set(found) == {"lanekeeper", "LICENSE"}, found
    assert found["lanekeeper"].mode & 0o777 == 0o755 and found["lanekeeper"].uid == 0
    return told, layers


def started(root, layers, entrypoint):
    """The server in its root file system, on a world from a volume, and where it answers."""
    for layer in layers:
        with tarfile.open(fileobj=io.BytesIO(layer)) as tar:
            tar.extractall(root)
    os.chmod(root, 0o755)
    # What a kubelet mounts.
    volume = root / "world"
    volume.mkdir()
    for file in (ROOT / "examples/cars").glob("*.yaml"):
        (volume / file.name).write_bytes(file.read_bytes())
    for name in ("dev", "proc"):
        (root / name).mkdir()
    webhook, admin = free_port(), free_port()
    serve = [
        *entrypoint,
        "serve",
        "--manifests=/world",
        f"--listen=127.0.0.1:{webhook}",
        f"--admin-listen=127.0.0.1:{admin}",
        "--ca-file=/dev/null",
        "--shutdown-delay=0",
    ]
    script = (
        'set -e; mount --bind "$0" "$0"; mount -o remount,bind,ro "$0"; '
        'mount -t proc proc "$0/proc"; mount --bind /dev "$0/dev"; '
        'exec chroot --userspec=65532:65532 --groups=65532 "$0" "$@"'
    )
    command = ["unshare", "--mount", "sh", "-c", script, str(root), *serve]
    process = subprocess.Popen(command, env={}, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    return process, admin


def main(folder):
    labels = check_filter(folder / "lane-filter.tar")
    told, layers = check_server(folder / "lanekeeper.tar")
    for label in ("org.opencontainers.image.version", "org.opencontainers.image.revision"):
        assert labels[label] == told["Labels"][label] != "", label
    assert told["Labels"]["org.opencontainers.image.licenses"] == "Apache-2.0"

    with tempfile.TemporaryDirectory() as name:
        root = pathlib.Path(name)
        process, admin = started(root, layers, told["Entrypoint"])
        try:
            for _ in range(300):
                assert process.poll() is None, process.stderr.read().decode()
                try:
                    status, body = ask(admin, "/readyz")
                    if status == 200:
                        break
                except OSError:
                    pass
                time.sleep(0.1)
            else:
                raise AssertionError("it is not ready")
            assert ask(admin, "/healthz")[0] == 200
            status = pathlib.Path(f"/proc/{process.pid}/status").read_text()
            assert "\nUid:\t65532\t65532\t65532\t65532\n" in status, status
            version, commit = (told["Labels"][f"org.opencontainers.image.{which}"] for which in ("version", "revision"))
            metrics = ask(admin, "/metrics")[1].decode()
            info = f'lanekeeper_build_info{{version="{version}",commit="{commit}"}} 1'
            assert info in metrics, metrics
            # The lane filter is in it.
            sha256 = (ROOT / "target/wasm/lanekeeper.wasm.sha256").read_text().strip()
            status, module = ask(admin, f"/wasm/lane-{sha256}.wasm")
            assert status == 200 and hashlib.sha256(module).hexdigest() == sha256, status
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                ended = process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                raise
        assert ended == 0, ended
    size = (folder / "lanekeeper.tar").stat().st_size
    print(f"image: lanekeeper.tar ({size} bytes) started as 65532 in a read-only root, answered and ended in order")


main(pathlib.Path(sys.argv[1]).resolve())
