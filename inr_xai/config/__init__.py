"""The configuration: its schema, the refusal of what cannot work before any work, and Hydra's errors as sentences."""

from inr_xai.config.check import check
from inr_xai.config.compose import composed, conf_folder
from inr_xai.config.programs import exit_status
from inr_xai.config.schema import register
from inr_xai.config.sentences import sentence

__all__ = ["check", "composed", "conf_folder", "exit_status", "register", "sentence"]
