"""ratings.csv -> train.csv and test.csv: every fifth rating is for test, beginning with the seed's."""
import csv, sys

source, train, test, seed = sys.argv[1:]
rows = list(csv.reader(open(source)))
parts = {train: [rows[0]], test: [rows[0]]}
for n, row in enumerate(rows[1:]):
    parts[test if n % 5 == int(seed) % 5 else train].append(row)
for name, part in parts.items():
    csv.writer(open(name, "w", newline="")).writerows(part)
