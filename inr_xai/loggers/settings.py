"""The options of `logger.wandb`."""

import os
from dataclasses import dataclass, field, replace

from inr_xai.errors import UserError

MODES = {
    "offline": "offline",
    "dryrun": "offline",
    "": "offline",
    "online": "online",
    "run": "online",
    "disabled": "disabled",
}
"""The names of the modes, those of older W&B versions included -> the mode."""
PROJECT = "inr_xai"
IMAGES = 200
"""Images that have pictures at W&B by default."""


@dataclass
class WandbSettings:
    """The options of `logger.wandb`.

    Args:
        mode: "offline" writes files that `wandb sync` uploads later, "online" uploads while the run goes on (or stays
            offline if W&B cannot be reached), "disabled" does nothing.
        project, group, entity: by default what WANDB_PROJECT, WANDB_RUN_GROUP and WANDB_ENTITY say.
        tags: they are joined by those of WANDB_TAGS.
        finish_timeout: seconds that the end of an online run waits for its upload; the rest stays on the disk.
        name: what W&B calls the run; by default what WANDB_NAME says, else the run's own name.
        images: how many images have pictures at W&B, at least 0: the worst ones.
    """

    project: str = field(default_factory=lambda: os.environ.get("WANDB_PROJECT", ""))
    mode: str = "offline"
    group: str | None = field(default_factory=lambda: os.environ.get("WANDB_RUN_GROUP"))
    tags: list[str] = field(default_factory=list)
    entity: str | None = field(default_factory=lambda: os.environ.get("WANDB_ENTITY"))
    finish_timeout: float = 12.0
    name: str | None = None
    images: int = IMAGES

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise UserError(
                f"logger.wandb.mode is {self.mode!r}; choose offline, online or disabled"
                " (it is taken from the environment variable WANDB_MODE if that is set)"
            )
        if isinstance(self.images, bool) or not isinstance(self.images, int) or self.images < 0:
            raise UserError(f"logger.wandb.images is {self.images!r}; give a whole number of images, at least 0")
        self.mode = MODES[self.mode]
        self.project, self.group, self.entity = self.project or PROJECT, self.group or None, self.entity or None
        self.tags = [self.tags] if isinstance(self.tags, str) else list(self.tags or ())

    def beside(self, group: str, name: str | None = None) -> "WandbSettings":
        """Returns the settings of another run in the group of this one, which is `group` if it has none."""
        return replace(self, group=self.group or group, name=name)
