"""The configuration composed from conf/ without Hydra's program, for other commands that take the options of a run."""

from pathlib import Path

from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from inr_xai.config.check import check
from inr_xai.config.schema import register


def conf_folder() -> Path:
    """Returns the folder conf/: inside the installed package, or beside it in a checkout."""
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "conf", package.parent / "conf"):
        if (folder / "config.yaml").is_file():
            return folder
    raise FileNotFoundError(f"no conf/config.yaml in {package} or {package.parent}; install inr-xai again")


def composed(*overrides: str) -> DictConfig:
    """Returns the configuration with these options, as on the command line. Raises UserError if it cannot work."""
    register()
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        cfg = compose("config", overrides=list(overrides))
    check(cfg)
    return cfg
