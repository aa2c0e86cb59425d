#!/usr/bin/env python3
"""Writes the bill of materials (CycloneDX 1.5, JSON) of an image to standard output.

    sbom.py NAME [--version VERSION] [--crate CRATE] [--go PROGRAM] [--root FOLDER]

Without --version it is the crate's.
With --crate: the standard library, and the crates that are linked into the binary of that crate of the workspace, from
Cargo.lock. Features are those of the whole workspace with its tests, so a few crates may be listed that this binary does
without; none is missing. Crates that only run during the build (procedural macros, build scripts) are left out.
With --go: the modules that a Go program says it is made of.
With --root: the Debian packages whose shared libraries lie below that folder.
The same inputs give the same bytes.
"""

import argparse
import json
import pathlib
import re
import subprocess
import sys
import tomllib

PLATFORM = "x86_64-unknown-linux-gnu"


def cargo_metadata():
    command = ["cargo", "metadata", "--locked", "--format-version", "1", "--filter-platform", PLATFORM]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def linked(metadata, crate):
    """The packages that end up in the binary, and what each of them links."""
    packages = {package["id"]: package for package in metadata["packages"]}
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    root = next((i for i in metadata["workspace_members"] if packages[i]["name"] == crate), None)
    if root is None:
        sys.exit(f'sbom: the workspace has no crate "{crate}"')

    def links(identity):
        for dependency in nodes[identity]["deps"]:
            is_normal = any(kind["kind"] is None for kind in dependency["dep_kinds"])
            is_macro = any("proc-macro" in target["kind"] for target in packages[dependency["pkg"]]["targets"])
            if is_normal and not is_macro:
                yield dependency["pkg"]

    found, todo = {}, [root]
    while todo:
        identity = todo.pop()
        if identity not in found:
            found[identity] = sorted(links(identity))
            todo.extend(found[identity])
    return root, found, packages


def checksums(workspace):
    lock = tomllib.loads((pathlib.Path(workspace) / "Cargo.lock").read_text())
    return {(p["name"], p["version"]): p["checksum"] for p in lock["package"] if "checksum" in p}


def crate_component(package, sums):
    component = {
        "type": "library",
        "bom-ref": reference(package),
        "name": package["name"],
        "version": package["version"],
        "purl": reference(package),
    }
    if package["license"]:
        # The slash is how licences were written before SPDX expressions.
        expression = re.sub(r"\s*/\s*", " OR ", package["license"])
        component["licenses"] = [{"expression": expression}]
    if checksum := sums.get((package["name"], package["version"])):
        component["hashes"] = [{"alg": "SHA-256", "content": checksum}]
    return component


def reference(package):
    return f'pkg:cargo/{package["name"]}@{package["version"]}'


def standard_library():
    """Rust's own library, which no lock file names."""
    version = subprocess.run(["rustc", "--version"], check=True, capture_output=True, text=True).stdout.split()[1]
    purl = f"pkg:generic/rust-std@{version}"
    licences = [{"expression": "MIT OR Apache-2.0"}]
    return {"type": "library", "bom-ref": purl, "name": "rust-std", "version": version, "purl": purl, "licenses": licences}


def go_components(program):
    """The modules of a program, which the Go linker writes into it: a mark, the version of Go, a list of modules."""
    content = pathlib.Path(program).read_bytes()
    start = content.find(b"\xff Go buildinf:")
    if start < 0:
        sys.exit(f"sbom: {program} does not say what it is made of")

    def text(at):
        length, shift = 0, 0
        while True:
            byte = content[at]
            length |= (byte & 0x7F) << shift
            at, shift = at + 1, shift + 7
            if byte < 0x80:
                return content[at : at + length], at + length

    _version, at = text(start + 32)
    modules, _ = text(at)
    # Marks of 16 bytes stand around the list.
    for line in modules[16:-16].decode().splitlines():
        kind, _, rest = line.partition("\t")
        if kind in ("mod", "dep"):
            name, version = rest.split("\t")[:2]
            purl = f"pkg:golang/{name}@{version}"
            yield {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl}


def debian_components(root):
    """The packages of the shared libraries that were copied from this machine."""
    owners = set()
    for library in sorted(pathlib.Path(root).rglob("*.so*")):
        place = "/" + str(library.relative_to(root))
        # The database knows a merged /usr by either name.
        for name in [place, "/usr" + place]:
            answer = subprocess.run(["dpkg", "--search", name], capture_output=True, text=True)
            if answer.returncode == 0:
                owners.add(answer.stdout.split(": ")[0])
                break
        else:
            sys.exit(f"sbom: no package owns {place}")
    for owner in sorted(owners):
        query = ["dpkg-query", "--show", "--showformat", "${Package} ${Version} ${Architecture}", owner]
        name, version, architecture = subprocess.run(query, check=True, capture_output=True, text=True).stdout.split()
        purl = f"pkg:deb/debian/{name}@{version}?arch={architecture}"
        yield {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name")
    parser.add_argument("--version")
    parser.add_argument("--crate")
    parser.add_argument("--go")
    parser.add_argument("--root")
    arguments = parser.parse_args()

    version, components, dependencies = arguments.version, [], []
    if arguments.crate:
        metadata = cargo_metadata()
        root, found, packages = linked(metadata, arguments.crate)
        version = version or packages[root]["version"]
        sums = checksums(metadata["workspace_root"])
        components.append(standard_library())
        for identity in sorted(found):
            components.append(crate_component(packages[identity], sums))
            targets = sorted(reference(packages[i]) for i in found[identity])
            dependencies.append({"ref": reference(packages[identity]), "dependsOn": targets})
        dependencies.insert(0, {"ref": arguments.name, "dependsOn": [reference(packages[root])]})
    if arguments.go:
        components.extend(go_components(arguments.go))
    if arguments.root:
        components.extend(debian_components(arguments.root))
    if not version:
        parser.error("name a --version or a --crate")
    subject = {"type": "container", "bom-ref": arguments.name, "name": arguments.name, "version": version}
    bill = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": subject},
        "components": components,
        "dependencies": dependencies,
    }
    json.dump(bill, sys.stdout, indent=1, ensure_ascii=False)
    print()


if __name__ == "__main__":
    main()
