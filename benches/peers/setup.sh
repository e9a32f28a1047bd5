#!/usr/bin/env bash
# Makes the virtual environment of the peers, .venv beside this script; does nothing where it is already up to date.
# Needs Python 3.11 or newer, a C and C++ compiler (torch.compile, cuda_stand_ins.py) and about 1.9 GB of disk.
set -euo pipefail
cd "$(dirname "$0")"
python=${PYTHON:-python3}
stamp=.venv/made-of
wanted=$(cat requirements.txt cuda_stand_ins.py setup.sh | sha256sum | cut -d' ' -f1)
if [[ -f $stamp && $(<"$stamp") == "$wanted" ]]; then
    echo "benches/peers/.venv is up to date" >&2
    exit 0
fi
"$python" -m venv --clear .venv
# --no-deps: requirements.txt is complete without torch's CUDA libraries.
.venv/bin/pip install --quiet --disable-pip-version-check --no-deps -r requirements.txt
.venv/bin/python cuda_stand_ins.py
.venv/bin/python - <<'PYTHON'
import torch, numpy, polars, duckdb, pyarrow, psutil
print("torch", torch.__version__, "polars", polars.__version__, "duckdb", duckdb.__version__)
PYTHON
echo "$wanted" > "$stamp"
