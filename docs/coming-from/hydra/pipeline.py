"""Both steps in one program, once for each job: `python pipeline.py -m shrink=0,5,25`."""
import pathlib, subprocess, sys

import hydra

HERE = pathlib.Path(__file__).resolve().parent.parent


@hydra.main(version_base=None, config_path=".", config_name="config")
def main(config):
    out = pathlib.Path(hydra.core.hydra_config.HydraConfig.get().runtime.output_dir)
    step = lambda script, *words: subprocess.run([sys.executable, HERE / "scripts" / script, *map(str, words)], check=True)
    step("prepare.py", HERE / "ratings.csv", out / "train.csv", out / "test.csv", config.seed)
    step("train.py", out / "train.csv", out / "test.csv", config.shrink, out / "model.json", out / "metrics.json")
    print(config.shrink, (out / "metrics.json").read_text())


if __name__ == "__main__":
    main()
