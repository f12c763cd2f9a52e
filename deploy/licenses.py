#!/usr/bin/env python3
"""Prints the licenses of the crates that are linked into what is shipped: deploy/licenses.py"""

import json
import subprocess
import sys
from pathlib import Path

SHIPPED = ("nccltap", "nccltap-agent", "nccltap-uplink")
TEXTS = ("licen", "copying", "notice", "unlicense")


def linked(metadata):
    """The packages that are linked into what is shipped, those of this project left out."""
    packages = {package["id"]: package for package in metadata["packages"]}
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    waiting = [found for found, package in packages.items() if package["name"] in SHIPPED and not package["source"]]
    if len(waiting) != len(SHIPPED):
        sys.exit(f"{sys.argv[0]}: not all of {', '.join(SHIPPED)} are in the workspace")
    seen = set()
    while waiting:
        current = waiting.pop()
        # What a compiler plugin is made of goes into the compiler.
        if current in seen or any("proc-macro" in target["kind"] for target in packages[current]["targets"]):
            continue
        seen.add(current)
        for dependency in nodes[current]["deps"]:
            if any(kind["kind"] is None for kind in dependency["dep_kinds"]):
                waiting.append(dependency["pkg"])
    return sorted((packages[found] for found in seen if packages[found]["source"]), key=lambda p: (p["name"], p["version"]))


def texts(package):
    folder = Path(package["manifest_path"]).parent
    files = [file for file in sorted(folder.iterdir()) if file.is_file() and file.name.lower().startswith(TEXTS)]
    return [file.read_text(errors="replace").strip() for file in files]


def main():
    command = ["cargo", "metadata", "--format-version", "1", "--locked", "--filter-platform", "x86_64-unknown-linux-gnu"]
    manifest = Path(__file__).resolve().parent.parent / "Cargo.toml"
    done = subprocess.run([*command, "--manifest-path", manifest], stdout=subprocess.PIPE, check=True)
    packages = linked(json.loads(done.stdout))
    # Many have the same text: each is printed once, under all who have it.
    owners = {}
    print("nccltap is under the Apache License 2.0. Linked into its command and libraries are:\n")
    for package in packages:
        print(f"{package['name']} {package['version']}: {package['license']}")
        for text in texts(package):
            owners.setdefault(text, []).append(f"{package['name']} {package['version']}")
    for text, names in owners.items():
        print(f"\n{'=' * 100}\n{', '.join(names)}\n\n{text}")


main()
