"""Times preprocessing of ratings in Polars and DuckDB: bench (e), beside talkflow's dataset and split stages and its batches.

Jobs: `csv` turns ratings.csv (userId, movieId, rating, timestamp) into zstd Parquet; `dataset` does so with users and items as dense indices in order of
first appearance, and writes the tables of ids, as talkflow's stage does; `split` assigns 80/10/10 to the rows, either with exact sizes by a
seeded shuffle (`polars-shuffle`) or by a hash of the row number (`polars-hash`), and writes them; `genre` joins with movies.csv and keeps the
rows of one genre; `batches` reads Parquet and makes an epoch of shuffled batches of 1 024 rows as numpy arrays, by gathering from columns
(`polars-numpy`) or by shuffling the whole frame (`polars-frame`). Every measurement is a process of its own, so that its peak memory is its own:
seconds do not include its start and its imports, peak memory does. Engines alternate within each repeat.
"""

import argparse
import importlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

COLUMNS = {"userId": "UINTEGER", "movieId": "UINTEGER", "rating": "FLOAT", "timestamp": "BIGINT"}


def scan(file: Path):
    import polars as pl

    types = {"userId": pl.UInt32, "movieId": pl.UInt32, "rating": pl.Float32, "timestamp": pl.Int64}
    return pl.scan_csv(file, schema=types)


def duck(arguments: argparse.Namespace):
    import duckdb

    connection = duckdb.connect()
    connection.execute(f"SET threads = {arguments.threads}")
    return connection


def duck_csv(file: Path) -> str:
    columns = ", ".join(f"'{name}': '{kind}'" for name, kind in COLUMNS.items())
    return f"read_csv('{file}', header = true, auto_detect = false, columns = {{{columns}}})"


def duck_zstd(arguments: argparse.Namespace) -> str:
    return f"(FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL {arguments.level})"


def csv_polars(arguments: argparse.Namespace, out: Path) -> None:
    scan(arguments.ratings).sink_parquet(out / "ratings.parquet", compression="zstd", compression_level=arguments.level)


def csv_duckdb(arguments: argparse.Namespace, out: Path) -> None:
    source, options = duck_csv(arguments.ratings), duck_zstd(arguments)
    duck(arguments).execute(f"COPY (SELECT * FROM {source}) TO '{out}/ratings.parquet' {options}")


def dataset_polars(arguments: argparse.Namespace, out: Path) -> None:
    import polars as pl

    zstd = {"compression": "zstd", "compression_level": arguments.level}
    ratings = scan(arguments.ratings).collect(engine="streaming")
    for name, column in (("user", "userId"), ("item", "movieId")):
        ids = ratings.select(pl.col(column).unique(maintain_order=True)).with_row_index(name)
        ratings = ratings.join(ids, on=column, how="left", maintain_order="left")
        ids.select(name, pl.col(column).cast(pl.String).alias("id")).write_parquet(out / f"{name}s.parquet", **zstd)
    ratings.with_row_index("row").select("row", "user", "item", "rating", "timestamp").write_parquet(out / "ratings.parquet", **zstd)


def dataset_duckdb(arguments: argparse.Namespace, out: Path) -> None:
    connection, options = duck(arguments), duck_zstd(arguments)
    source = duck_csv(arguments.ratings)
    connection.execute(f"CREATE TABLE lines AS SELECT (row_number() OVER () - 1)::UINTEGER AS row, * FROM {source}")
    for name, column in (("user", "userId"), ("item", "movieId")):
        first = f"SELECT {column}, min(row) AS first FROM lines GROUP BY {column}"
        connection.execute(
            f"CREATE TABLE {name}s AS SELECT (row_number() OVER (ORDER BY first) - 1)::UINTEGER AS {name}, {column} FROM ({first})"
        )
        ids = f"SELECT {name}, {column}::VARCHAR AS id FROM {name}s ORDER BY {name}"
        connection.execute(f"COPY ({ids}) TO '{out}/{name}s.parquet' {options}")
    joined = "SELECT row, user, item, rating, timestamp FROM lines JOIN users USING (userId) JOIN items USING (movieId) ORDER BY row"
    connection.execute(f"COPY ({joined}) TO '{out}/ratings.parquet' {options}")


def rows_of(file: Path) -> int:
    import polars as pl

    return pl.scan_parquet(file).select(pl.len()).collect().item()


def split(arguments: argparse.Namespace, out: Path, number: Callable, shares: tuple[int, int]) -> None:
    """Writes the part of each row: test where the row's `number` is under the first share, validation where it is under the second."""
    import polars as pl

    count = rows_of(arguments.parquet)
    part = pl.Enum(["train", "validation", "test"])
    row = pl.int_range(count, dtype=pl.UInt32).alias("row")
    test, validation = shares
    drawn = pl.col("drawn")
    parts = pl.when(drawn < test).then(pl.lit("test", part)).when(drawn < validation).then(pl.lit("validation", part))
    numbered = pl.select(row, number(row).alias("drawn"))
    frame = numbered.select("row", parts.otherwise(pl.lit("train", part)).alias("part"))
    frame.write_parquet(out / "split.parquet", compression="zstd", compression_level=arguments.level)


def split_shuffle(arguments: argparse.Namespace, out: Path) -> None:
    count = rows_of(arguments.parquet)
    split(arguments, out, lambda row: row.shuffle(seed=1), (round(count * 0.1), round(count * 0.1) * 2))


def split_hash(arguments: argparse.Namespace, out: Path) -> None:
    split(arguments, out, lambda row: row.hash(seed=1) % 10, (1, 2))


def genre_polars(arguments: argparse.Namespace, out: Path) -> int:
    import polars as pl

    movies = pl.scan_csv(arguments.movies, schema_overrides={"movieId": pl.UInt32})
    items = movies.with_columns(pl.col("genres").str.split("|")).explode("genres").filter(pl.col("genres") == arguments.genre)
    rows = pl.scan_parquet(arguments.parquet).with_row_index("row").join(items, on="movieId", how="semi", maintain_order="left")
    return rows.select("row", "userId", "movieId", "rating").collect(engine="streaming").height


def genre_duckdb(arguments: argparse.Namespace, out: Path) -> int:
    # movies.csv is parsed here as in Polars; the rows go to Arrow, so that both engines end with columns in memory.
    movies = f"SELECT movieId, unnest(string_split(genres, '|')) AS genre FROM read_csv('{arguments.movies}', header = true)"
    rows = f"SELECT file_row_number, userId, movieId, rating FROM read_parquet('{arguments.parquet}', file_row_number = true)"
    wanted = f"SELECT movieId FROM ({movies}) WHERE genre = '{arguments.genre}'"
    return duck(arguments).sql(f"{rows} WHERE movieId IN ({wanted})").to_arrow_table().num_rows


def batches_numpy(arguments: argparse.Namespace, out: Path) -> int:
    import numpy as np
    import polars as pl

    frame = pl.read_parquet(arguments.parquet, columns=["userId", "movieId", "rating"])
    columns = [frame[name].to_numpy() for name in frame.columns]
    order = np.random.default_rng(1).permutation(frame.height)
    rows = 0
    for at in range(0, frame.height, 1024):
        batch = order[at : at + 1024]
        rows += len([column[batch] for column in columns][0])
    return rows


def batches_frame(arguments: argparse.Namespace, out: Path) -> int:
    import polars as pl

    frame = pl.read_parquet(arguments.parquet, columns=["userId", "movieId", "rating"]).sample(fraction=1.0, shuffle=True, seed=1)
    rows = 0
    for batch in frame.iter_slices(1024):
        rows += len([batch[name].to_numpy() for name in batch.columns][0])
    return rows


JOBS: dict[str, dict[str, Callable]] = {
    "csv": {"polars": csv_polars, "duckdb": csv_duckdb},
    "dataset": {"polars": dataset_polars, "duckdb": dataset_duckdb},
    "split": {"polars-shuffle": split_shuffle, "polars-hash": split_hash},
    "genre": {"polars": genre_polars, "duckdb": genre_duckdb},
    "batches": {"polars-numpy": batches_numpy, "polars-frame": batches_frame},
}


def child(arguments: argparse.Namespace) -> None:
    """One measurement: prints its seconds, what it wrote, and how many rows it found."""
    job = JOBS[arguments.jobs[0]][arguments.engine]
    # Imports are not timed, and an engine's peak memory holds no other engine.
    for library in ("duckdb", "pyarrow") if arguments.engine == "duckdb" else ("polars", "numpy"):
        importlib.import_module(library)
    with tempfile.TemporaryDirectory(dir=arguments.scratch) as out:
        begin = time.perf_counter()
        found = job(arguments, Path(out))
        seconds = time.perf_counter() - begin
        written = sum(file.stat().st_size for file in Path(out).iterdir())
    print(json.dumps({"seconds": seconds, "bytes_written": written, "rows_found": found}))


def measured(arguments: argparse.Namespace, job: str, engine: str) -> dict:
    """Runs a measurement in a process of its own; its peak memory comes from the kernel's account of that process."""
    paths = ["--ratings", arguments.ratings, "--movies", arguments.movies, "--parquet", arguments.parquet, "--scratch", arguments.scratch]
    options = ["--threads", arguments.threads, "--level", arguments.level, "--genre", arguments.genre]
    command = [sys.executable, __file__, "--child", "--jobs", job, "--engine", engine, *paths, *options]
    environment = {**os.environ, "POLARS_MAX_THREADS": str(arguments.threads)}
    process = subprocess.Popen([str(word) for word in command], stdout=subprocess.PIPE, env=environment, text=True)
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise SystemExit(f"{job} in {engine} ended with {process.returncode}")
    # ru_maxrss is in KiB on Linux.
    return {**json.loads(output), "peak_mib": usage.ru_maxrss / 1024}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--ratings", type=Path, required=True, help="ratings.csv")
    parser.add_argument("--movies", type=Path, required=True, help="movies.csv: movieId, title, genres parted by |")
    parser.add_argument("--scratch", type=Path, required=True, help="directory for what is written; emptied after each measurement")
    parser.add_argument("--jobs", nargs="+", choices=[*JOBS], default=[*JOBS])
    parser.add_argument("--genre", default="Western")
    parser.add_argument("--level", type=int, default=1, help="zstd level; talkflow writes with 1")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--parquet", type=Path, help="those ratings for split, genre and batches; made untimed where not given")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--engine", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        return child(arguments)
    arguments.scratch.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=arguments.scratch) as own:
        if arguments.parquet is None:
            arguments.parquet = Path(own, "ratings.parquet")
            csv_polars(arguments, Path(own))
        count = rows_of(arguments.parquet)
        for job in arguments.jobs:
            runs: dict[str, list[dict]] = {engine: [] for engine in JOBS[job]}
            for _ in range(arguments.repeats):
                for engine, of_engine in runs.items():
                    of_engine.append(measured(arguments, job, engine))
            for engine, of_engine in runs.items():
                seconds = statistics.median(run["seconds"] for run in of_engine)
                line = {
                    "bench": f"preprocess-{job}",
                    "variant": engine,
                    "threads": arguments.threads,
                    "rows": count,
                    "seconds": round(seconds, 4),
                    "repeats": [round(run["seconds"], 4) for run in of_engine],
                    "rows_per_second": round(count / seconds),
                    "peak_mib": round(max(run["peak_mib"] for run in of_engine)),
                    "bytes_written": of_engine[0]["bytes_written"],
                    "rows_found": of_engine[0]["rows_found"],
                }
                print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
