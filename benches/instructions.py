#!/usr/bin/env python3
"""Compares the working tree with another revision by the instructions that the same work takes.

    benches/instructions.py [REVISION]        (origin/main)

Both are built with the working tree's benches/, or the other one with its own where those do not fit it. The work is
that of benches/instructions.rs, and `lanekeeper check` on a tree of 200 services with one processor. valgrind's callgrind
counts; of each work the least of three runs counts, because hash maps have another seed in each run. Ends with 1 when a
work takes over 5 % more.
"""

import hashlib
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
FOLDER = ROOT / "target/instructions"
BENCH = '\n[[bench]]\nname = "instructions"\nharness = false\n'
WORKS = ["decision", "event", "parse", "review"]
RUNS = 3
LIMIT = 1.05


def main():
    revision = sys.argv[1] if len(sys.argv) > 1 and sys.argv[1] else "origin/main"
    found = subprocess.run(["git", "rev-parse", "--verify", "--quiet", revision + "^{commit}"],
                           cwd=ROOT, capture_output=True, text=True)
    if found.returncode:
        sys.exit(f"there is no revision {revision}: name one by BASE=")
    commit = found.stdout.strip()
    new = build(ROOT, FOLDER / "new") or sys.exit("the working tree does not build")
    old = build_base(commit)
    with tempfile.TemporaryDirectory() as manifests:
        subprocess.run([new / "instructions", "manifests", manifests], check=True)
        works = {work: ["instructions", work] for work in WORKS}
        works["check"] = ["lanekeeper", "check", manifests]
        rows = [(work, count(old, command), count(new, command)) for work, command in works.items()]
    width = max(len(work) for work, _, _ in rows)
    print(f"\nInstructions, in millions: {commit[:12]} and the working tree\n")
    print(f"| {'work':{width}} |      old |      new | ratio |")
    print(f"| {'-' * width} | -------: | -------: | ----: |")
    for work, before, after in rows:
        print(f"| {work:{width}} | {before / 1e6:8.2f} | {after / 1e6:8.2f} | {after / before:5.3f} |")
    slower = [work for work, before, after in rows if after > before * LIMIT]
    if slower:
        sys.exit(f"\nover {LIMIT - 1:.0%} more: {', '.join(slower)}")


def git(*arguments):
    subprocess.run(["git", *arguments], cwd=ROOT, check=True)


def forget(worktree):
    """Removes what an earlier run, or this one, has checked out."""
    shutil.rmtree(worktree, ignore_errors=True)
    git("worktree", "prune")


def build_base(commit):
    """Builds the other revision: by our benchmarks if they fit it, else by its own. What is built already is kept."""
    base, into = FOLDER / "base", FOLDER / "old"
    ours = b"".join(path.read_bytes() for path in sorted((ROOT / "benches").glob("*.rs")))
    stamp, want = into / "stamp", f"{commit} {hashlib.sha256(ours).hexdigest()}"
    if stamp.is_file() and stamp.read_text() == want:
        return into
    shutil.rmtree(into, ignore_errors=True)
    forget(base)
    git("worktree", "add", "--quiet", "--force", "--detach", str(base), commit)
    try:
        own = (base / "benches/instructions.rs").is_file()
        shutil.copytree(ROOT / "benches", base / "benches", dirs_exist_ok=True)
        manifest = base / "Cargo.toml"
        if '"instructions"' not in manifest.read_text():
            manifest.write_text(manifest.read_text() + BENCH)
        built = build(base, into)
        if not built and own:
            print("these benchmarks do not fit that revision: it is measured by its own", file=sys.stderr)
            subprocess.run(["git", "checkout", "--quiet", "--force", "."], cwd=base, check=True)
            built = build(base, into)
    finally:
        forget(base)
    if not built:
        sys.exit("that revision does not build")
    stamp.write_text(want)
    return into


def build(tree, into):
    """Builds the benchmark, with the names of functions, and the program; the folder they are in, or nothing."""
    print(f"building {tree} ...", file=sys.stderr)
    built = subprocess.run(
        ["cargo", "rustc", "--quiet", "--locked", "--profile", "bench", "--bench", "instructions",
         "--message-format=json-render-diagnostics", "--target-dir", str(ROOT / "target"),
         "--", "-C", "strip=none"],
        cwd=tree, stdout=subprocess.PIPE, text=True, env={**os.environ, "LANEKEEPER_COMMIT": "measured"})
    if built.returncode:
        return None
    into.mkdir(parents=True, exist_ok=True)
    for line in built.stdout.splitlines():
        message = json.loads(line)
        if message.get("executable") and message["target"]["name"] in ("instructions", "lanekeeper"):
            shutil.copy2(message["executable"], into / message["target"]["name"])
    return into


def count(folder, command):
    """How many instructions a command takes: all of them, or those of the part that is to be measured."""
    program, *arguments = command
    part = ["--toggle-collect=*measured_part*"] if program == "instructions" else []
    counts = []
    for _ in range(RUNS):
        with tempfile.NamedTemporaryFile() as output:
            subprocess.run(
                ["taskset", "--cpu-list", "0", "valgrind", "--quiet", "--tool=callgrind",
                 f"--callgrind-out-file={output.name}", *part, str(folder / program), *arguments],
                stdout=subprocess.DEVNULL, check=True)
            totals = re.search(r"^(?:totals|summary): (\d+)", pathlib.Path(output.name).read_text(), re.MULTILINE)
            counts.append(int(totals.group(1)))
    spread = max(counts) / min(counts) - 1
    print(f"{folder.name}: {' '.join(command[:2])}: {min(counts)}, runs differ by {spread:.3%}", file=sys.stderr)
    return min(counts)


main()
