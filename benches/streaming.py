#!/usr/bin/env python3
"""Trains on features ten times as large as the memory that a training is given, and on the same in memory.

Makes texts with classes and a matrix of states for them, imports it, and runs a probe and a student by `feature`, each in a process of its own,
with `stream` and without. What a process held at most is what the system says of it when it has ended (VmHWM, by wait4). Fails where a
streaming stage held more than it was given, or one in memory did not: then the check would see nothing.

    cargo build --release && benches/streaming.py [--given MIB] [--dir DIR]
"""
import argparse, array, json, os, random, shutil, subprocess, sys, tempfile, time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
WIDTH, CLASSES, BLOCK = 2048, 8, 4096

MANIFEST = """talkflow: 1
params: { stream: { buffer: 1024 } }
stages:
  data: { dataset: { texts: { file: texts.txt } } }
  split: { split: { rows: data, by: class, fractions: { train: 0.9, validation: 0.05, test: 0.05 } } }
  features:
    cache_features:
      rows: split
      parts: [train, validation, test]
      import: { from: drawn by benches/streaming.py, high: { file: states.npy } }
  probe: { probe: { rows: split, features: features, stop: { epochs: 2 }, batch: 256, stream: "${stream}" } }
  student:
    distill:
      rows: split
      features: features
      method: { feature: { projector_hidden: 32 } }
      model: { bag: { embedding: 16, hidden: [32, 16], vocabulary: { size: 1000 } } }
      stop: { epochs: 2 }
      batch: 256
      stream: "${stream}"
"""


def draw(folder, rows):
    """Rows of states in which the class can be seen, and texts in which it can be read now and then."""
    rng = random.Random(1)
    block = array.array("f", (rng.uniform(-1, 1) for _ in range(BLOCK * WIDTH)))
    for row in range(BLOCK):
        for at in range(row % CLASSES, WIDTH, 64):
            block[row * WIDTH + at] += 0.5
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, {WIDTH}), }}".encode()
    header += b" " * (63 - (10 + len(header)) % 64) + b"\n"
    with open(os.path.join(folder, "states.npy"), "wb") as out:
        out.write(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
        for _ in range(rows // BLOCK):
            block.tofile(out)
    with open(os.path.join(folder, "texts.txt"), "w") as out:
        for row in range(rows):
            of_class = row % CLASSES if rng.random() < 0.5 else rng.randrange(CLASSES)
            out.write(f"c{row % CLASSES} w{of_class} x{rng.randrange(500)} y{rng.randrange(400)}\n")


def run(binary, folder, *args):
    """Runs talkflow; its document, the most it held in MiB, and how long it took."""
    begin = time.monotonic()
    command = [binary, "run", "m.yaml", "--offline", "--format", "json", *args]
    with open(os.path.join(folder, "out.json"), "w+b") as out:
        # Threads have arenas; two is what the figures are of.
        process = subprocess.Popen(command, cwd=folder, stdout=out, env={**os.environ, "RAYON_NUM_THREADS": "2"})
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        document = json.loads(out.read() or "{}")
    if process.returncode:
        sys.exit(f"{' '.join(command)} ended with {process.returncode}: {document}")
    return document, usage.ru_maxrss / 1024, time.monotonic() - begin


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--given", type=int, default=224, help="MiB that a training may hold")
    parser.add_argument("--dir", help="where to work; a temporary folder otherwise")
    parser.add_argument("--binary", default=os.path.join(ROOT, "target", "release", "talkflow"))
    args = parser.parse_args()
    folder = tempfile.mkdtemp(dir=args.dir)
    try:
        rows = -(-args.given * 10 * 2**20 // (WIDTH * 4 * BLOCK)) * BLOCK
        size = rows * WIDTH * 4 / 2**20
        draw(folder, rows)
        with open(os.path.join(folder, "m.yaml"), "w") as out:
            out.write(MANIFEST)
        print(f"{rows} rows, {size:.0f} MiB of features, {args.given} MiB given")
        print("| stage | rows | held at most | seconds | validation error |\n|---|---|---|---|---|")
        bad = []
        for stage, how, extra in [
            ("data", "", ()),
            ("split", "", ()),
            ("features", "imported", ()),
            ("probe", "stream", ()),
            ("student", "stream", ()),
            ("probe", "in memory", ("--set", "stream=null")),
            ("student", "in memory", ("--set", "stream=null")),
        ]:
            document, held, seconds = run(args.binary, folder, stage, *extra)
            metrics = next(one for one in document["stages"] if one["name"] == stage)["metrics"] or {}
            error = metrics.get("validation_error")
            error = "" if error is None else f"{error:.4f}"
            print(f"| {stage} | {how} | {held:.0f} MiB | {seconds:.1f} | {error} |", flush=True)
            if (how == "in memory") != (held > args.given) and stage in ("features", "probe", "student"):
                bad.append(f"{stage} ({how}) held {held:.0f} MiB")
        if bad:
            sys.exit("not as it should be: " + "; ".join(bad))
    finally:
        shutil.rmtree(folder)


main()
