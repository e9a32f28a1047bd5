"""train.csv and test.csv -> model.json and metrics.json: a mean for each item, drawn to the mean of all by `shrink` ratings."""
import csv, json, sys

train, test, shrink, model, metrics = sys.argv[1:]
read = lambda name: [(row["item"], float(row["rating"])) for row in csv.DictReader(open(name))]
ratings, shrink = read(train), float(shrink)
mean = sum(r for _, r in ratings) / len(ratings)
items = {}
for item, rating in ratings:
    total, count = items.get(item, (0.0, 0))
    items[item] = (total + rating - mean, count + 1)
bias = {item: total / (count + shrink) for item, (total, count) in items.items()}
errors = [(rating - mean - bias.get(item, 0.0)) ** 2 for item, rating in read(test)]
json.dump({"mean": mean, "bias": bias}, open(model, "w"), sort_keys=True)
json.dump({"rmse": (sum(errors) / len(errors)) ** 0.5}, open(metrics, "w"))
