"""`shards=n` of a multirun: for each configuration n jobs, which explain the images of one run folder together.

`expand_shards` turns the shorthand into options that Hydra's own sweeper knows: `shard.count=n`, `shard.steal=true`
and, as the dimension that changes fastest, `shard.index=range(n)`. So job j of the multirun works in folder j // n.
"""

from omegaconf import DictConfig

from inr_xai.errors import UserError
from inr_xai.limits import check_numbers

BASIC = "hydra._internal.core_plugins.basic_sweeper.BasicSweeper"


def folder_of_job(number: int | str, count: int | str) -> int:
    """Returns the name of the folder of a job, if each `count` jobs share one: the resolver `${shards_folder:}`."""
    return int(number) // int(count)


def without_multirun(shards: int) -> UserError:
    """Returns the refusal of `shards` where there are no jobs."""
    return UserError(
        f"shards={shards} divides the images among the jobs of a multirun; add -m (python train.py -m "
        f"shards={shards}), or give shard.count={shards} shard.index=0 for one part of them"
    )


def expand_shards(config: DictConfig) -> int | None:
    """Replaces the option `shards` of a multirun by those of its jobs, and returns it; None if it is not given.

    Args:
        config: the configuration of the multirun with Hydra's node, which is changed.

    Raises:
        UserError: the number is out of range, or other options say the same or decide where jobs work.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser

    hydra = config.hydra
    given = OverridesParser.create().parse_overrides(list(hydra.overrides.task))
    params = [str(key).lstrip("+~") for key in hydra.sweeper.get("params") or {}]
    swept = [override for override in given if override.get_key_element().lstrip("+~") == "shards"]
    if "shards" in params or any(override.is_sweep_override() for override in swept):
        what = next((str(override.input_line) for override in swept), "hydra.sweeper.params.shards")
        raise UserError(f"{what}: shards is one number for all jobs of a multirun; give shards=N, or two commands")
    count = config.get("shards")
    if count is None:
        return None
    check_numbers({"shards": count})
    if hydra.sweeper.get("_target_") != BASIC:
        raise UserError(
            f"shards={count} needs hydra/sweeper=basic, which knows all jobs beforehand, and a search is on; leave out "
            "shards, or the search"
        )
    keys = [*params, *(override.get_key_element().lstrip("+~") for override in given)]
    if any(key.split(".")[0] == "shard" for key in keys) or (config.shard.index, config.shard.count) != (0, 1):
        raise UserError(f"shards={count} sets shard.index and shard.count itself; give either shards or these two")
    if any(option.lstrip("+~").startswith("hydra.sweep.subdir") for option in hydra.overrides.hydra):
        raise UserError(f"shards={count} sets hydra.sweep.subdir itself, the folder that its jobs share; leave it out")
    steals = str(count > 1).lower()
    hydra.overrides.task.extend([f"shard.count={count}", f"shard.steal={steals}", f"shard.index=range({count})"])
    # Each job has a log of its own: on network file systems, lines that two machines append can overwrite each other.
    name = f"{hydra.job.name}-${{shard.index}}-of-${{shard.count}}".replace("'", r"\'")
    hydra.overrides.hydra.extend(
        [f"hydra.sweep.subdir='${{shards_folder:${{hydra.job.num}},{count}}}'", f"hydra.job.name='{name}'"]
    )
    return int(count)
