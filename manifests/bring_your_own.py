"""Biases by ridge regression: mean + item + user, from a ratings and a split artifact. Needs pyarrow and numpy."""

import json
import sys

import numpy as np
import pyarrow.parquet as pq

ridge = float(sys.argv[1])
ratings = pq.read_table("ratings/ratings.parquet")
part = np.array(pq.read_table("split/split.parquet")["part"].to_pylist())
user, item, rating = (ratings[name].to_numpy() for name in ("user", "item", "rating"))
train, test = part == "train", part == "test"


def damped(index, residual, among):
    """For each index the sum of its residuals over their number plus the ridge; 0 where there are none."""
    size = int(index.max()) + 1
    total = np.bincount(index[among], residual[among], size)
    return total / (np.bincount(index[among], minlength=size) + ridge)


mean = rating[train].mean()
of_item = damped(item, rating - mean, train)
of_user = damped(user, rating - mean - of_item[item], train)
error = (mean + of_item[item] + of_user[user] - rating)[test]
np.save("item.npy", of_item)
np.save("user.npy", of_user)
with open("metrics.json", "w") as file:
    json.dump({"test": {"rmse": float(np.sqrt((error**2).mean())), "rows": int(test.sum())}}, file)
print("trained on", int(train.sum()), "ratings of", of_item.size, "items")
