"""Writes synthetic ratings.csv and movies.csv of the MovieLens layout, for preprocess.py and the talkflow bench beside it.

Sizes default to those of MovieLens 25M. Ratings are grouped by user, half stars from 0.5 to 5; films are drawn with a long tail; every film has one to
three genres. The bytes depend on the arguments and the pinned numpy alone. Times nothing.
"""

import argparse
from pathlib import Path

import numpy as np
import polars as pl

GENRES = "Action Adventure Animation Children Comedy Crime Documentary Drama Fantasy Film-Noir Horror Musical Mystery Romance Sci-Fi Thriller War Western"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("directory", type=Path)
    parser.add_argument("--rows", type=int, default=25_000_095)
    parser.add_argument("--users", type=int, default=162_541)
    parser.add_argument("--items", type=int, default=59_047)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    rng = np.random.default_rng(arguments.seed)
    arguments.directory.mkdir(parents=True, exist_ok=True)
    user = np.sort(rng.integers(1, arguments.users + 1, arguments.rows, dtype=np.uint32))
    # Cubing a uniform number gives the head of the catalogue most of the ratings; ids are shuffled, with gaps as real ones have.
    item = (arguments.items * rng.random(arguments.rows, dtype=np.float32) ** 3).astype(np.uint32).clip(max=arguments.items - 1)
    ids = np.sort(rng.choice(np.arange(1, 4 * arguments.items, dtype=np.uint32), arguments.items, replace=False))
    of_rank = rng.permutation(ids)
    ratings = pl.DataFrame(
        {
            "userId": user,
            "movieId": of_rank[item],
            "rating": rng.integers(1, 11, arguments.rows, dtype=np.uint8) / np.float32(2),
            "timestamp": rng.integers(789_652_009, 1_574_327_703, arguments.rows, dtype=np.int64),
        }
    )
    ratings.write_csv(arguments.directory / "ratings.csv")
    genres = GENRES.split()
    of_item = ["|".join(sorted(rng.choice(genres, rng.integers(1, 4), replace=False))) for _ in ids]
    movies = pl.DataFrame({"movieId": ids, "title": [f"Film {number} (2000)" for number in ids], "genres": of_item})
    movies.write_csv(arguments.directory / "movies.csv")


if __name__ == "__main__":
    main()
