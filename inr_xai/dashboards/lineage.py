"""The inputs of a project's runs as artifacts: which of them explained the same classifier, which the same images.

Runs are written offline, where W&B cannot say what a run used. They note digests of the classifier's checkpoint and of
the data in their configuration; here each digest becomes a small artifact, and every run that notes it its user.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import wandb

DIGESTS = {"classifier": ("classifier_checkpoint", "classifier_weights"), "data": ("data_manifest",)}
"""W&B's type of the artifact -> where a run's configuration has the digest, below `digests`; the first that is there.

The file of a classifier comes before its weights: people have it under the same digest, as `sha256sum` prints it."""
SHOWN = 12
"""Digits of a digest in the name of its artifact."""
RUN_NAME = "inputs"
"""The id, the name and the job type of the run that makes the artifacts: W&B has none without a run."""


@dataclass(frozen=True)
class RunInput:
    """Something that runs were given.

    Args:
        kind: "classifier" or "data".
    """

    kind: str
    digest: str

    @property
    def name(self) -> str:
        """The name of its artifact."""
        return f"{self.kind}-{self.digest[:SHOWN]}"


def link_inputs(api: "wandb.Api", entity: str, project: str) -> Iterator[str]:
    """Links the runs of a project with their inputs, and yields the id of a run whenever it is linked with one.

    Inputs that have no artifact yet get one. A run that is linked already stays so.
    """
    users = users_of_inputs(api.runs(f"{entity}/{project}", lazy=False))
    paths = {given: f"{entity}/{project}/{given.name}:latest" for given in users}
    missing = [given for given, path in paths.items() if not api.artifact_exists(path, type=given.kind)]
    if missing:
        _make_artifacts(missing, entity, project)
    for given, runs in users.items():
        artifact = api.artifact(paths[given], type=given.kind)
        for user in runs:
            user.use_artifact(artifact)
            yield str(user.id)


def _make_artifacts(missing: Iterable[RunInput], entity: str, project: str) -> None:
    """Logs an artifact for each input, in a run for this alone, which later calls continue."""
    import wandb

    quiet = wandb.Settings(silent=True, console="off", save_code=False, x_disable_stats=True, x_disable_meta=True)
    names: dict[str, Any] = {"id": RUN_NAME, "name": RUN_NAME, "job_type": RUN_NAME}
    place = names | {"entity": entity, "project": project, "mode": "online", "resume": "allow"}
    place["reinit"] = "create_new"  # never the run that the caller's own program has open
    with TemporaryDirectory() as folder:
        run = wandb.init(**place, dir=folder, settings=quiet)
        failed = True
        try:
            for given in missing:
                run.log_artifact(_artifact(given)).wait()
            failed = False
        finally:  # W&B's own `with` prints a traceback
            run.finish(exit_code=int(failed))


def users_of_inputs(runs: Iterable[Any]) -> dict[RunInput, list[Any]]:
    """Returns input -> the runs that note its digest."""
    users: dict[RunInput, list[Any]] = {}
    for run in runs:
        for given in inputs_of(run.config):
            users.setdefault(given, []).append(run)
    return users


def inputs_of(config: Mapping[str, Any]) -> list[RunInput]:
    """Returns the inputs that the configuration of a run notes.

    >>> inputs_of({"digests": {"classifier_weights": "0a"}}), inputs_of({})
    ([RunInput(kind='classifier', digest='0a')], [])
    """
    noted = config.get("digests") or {}
    found = {kind: next((noted[key] for key in keys if key in noted), None) for kind, keys in DIGESTS.items()}
    return [RunInput(kind, str(digest)) for kind, digest in found.items() if digest is not None]


def _artifact(given: RunInput) -> "wandb.Artifact":
    """Returns the artifact that stands for an input; the input itself stays where it is."""
    import wandb

    artifact = wandb.Artifact(given.name, type=given.kind, metadata={"digest": given.digest})
    with artifact.new_file("digest.txt") as file:
        file.write(given.digest)
    return artifact
