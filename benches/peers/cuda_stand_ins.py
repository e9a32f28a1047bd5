"""Lets the PyPI wheel of torch be imported on a machine without a GPU, without gigabytes of CUDA libraries.

The wheel links to cuBLAS, cuDNN, NCCL and others, which no CPU code path calls but the loader wants. For each such library that is not
installed this writes a stand-in that has the symbols torch refers to; each of them aborts, so that a call would be seen. The CPU kernels
that the benches time are those of the wheel, untouched. Needs a C compiler and binutils (`nm`, `ldd`), as torch.compile does.
"""

import re
import subprocess
import sys
import sysconfig
import tempfile
from collections import defaultdict
from pathlib import Path


def output(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def missing(libraries: list[Path]) -> set[str]:
    """Names of the libraries that the loader does not find."""
    return {name for library in libraries for name in re.findall(r"(\S+) => not found", output("ldd", str(library)))}


def wanted(libraries: list[Path]) -> dict[str, set[str]]:
    """Undefined symbols by the version that they are wanted in; "" for none."""
    symbols = defaultdict(set)
    for library in libraries:
        for line in output("nm", "-D", "--undefined-only", str(library)).splitlines():
            name, _, version = line.split()[-1].partition("@")
            symbols[version].add(name)
    return symbols


def symbols_of(soname: str, symbols: dict[str, set[str]]) -> tuple[str, set[str]]:
    """The version and the symbols that a library must have: versions are named after the library, or else symbols are."""
    stem = re.match(r"lib([a-z]+)", soname, re.IGNORECASE).group(1).lower()
    for version, names in symbols.items():
        if version and (version == soname or version.lower() == stem):
            return version, names
    return "", {name for name in symbols[""] if name.lower().startswith(stem)}


def write(directory: Path, soname: str, version: str, names: set[str]) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        source, script = Path(scratch, "stand_in.c"), Path(scratch, "versions")
        lines = ["void abort(void);", *(f"void {name}(void) {{ abort(); }}" for name in sorted(names))]
        source.write_text("\n".join(lines) + "\n")
        flags = ["-shared", "-fPIC", "-w", "-fno-builtin", f"-Wl,-soname,{soname}"]
        if version:
            script.write_text(f"{version} {{ global: *; }};\n")
            flags.append(f"-Wl,--version-script={script}")
        output("cc", *flags, "-o", str(directory / soname), str(source))


def main() -> None:
    directory = Path(sysconfig.get_paths()["purelib"], "torch", "lib")
    libraries = sorted(directory.glob("libtorch*.so")) + sorted(directory.glob("libc10*.so"))
    symbols = wanted(libraries)
    absent = sorted(missing(libraries))
    for soname in absent:
        version, names = symbols_of(soname, symbols)
        write(directory, soname, version, names)
        print(f"stand-in for {soname}: {len(names)} symbols", file=sys.stderr)


if __name__ == "__main__":
    main()
