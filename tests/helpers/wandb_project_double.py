"""More of the stand-in for the W&B server: a project's runs, saved views and artifacts, for W&B's public API."""

import json
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.helpers import wandb_double
from tests.helpers.wandb_double import ACCOUNT, Double

TIME = "2026-01-01T00:00:00Z"
PAGE = {"__typename": "PageInfo", "endCursor": None, "hasNextPage": False}
ENTITY = ACCOUNT["entity"]


@dataclass
class ProjectDouble:
    """A project at the stand-in.

    Args:
        configs: run id -> configuration, of the runs that it has.
        views: id -> the variables with which a workspace or a report was saved last.
        artifacts: name -> type, in the order in which they were made.
        uses: pairs of run id and name of an artifact.
    """

    name: str = "P"
    configs: dict[str, dict[str, Any]] = field(default_factory=dict)
    views: dict[str, dict[str, Any]] = field(default_factory=dict)
    artifacts: dict[str, str] = field(default_factory=dict)
    uses: list[tuple[str, str]] = field(default_factory=list)

    def of_type(self, kind: str) -> list[dict[str, Any]]:
        """Returns the specifications of the saved views of a type: "project-view" or "runs", which is a report."""
        return [json.loads(view["spec"]) for view in self.views.values() if view["type"] == kind]

    def default_entity(self, server: Double, variables: dict[str, Any]) -> dict[str, Any]:
        user = {**ACCOUNT, "name": ENTITY, "admin": False, "deletedAt": None, "apiKeys": {"edges": []}}
        return {"viewer": {**user, "defaultEntity": {"name": ENTITY}}}

    def projects(self, server: Double, variables: dict[str, Any]) -> dict[str, Any]:
        node = {"__typename": "Project", "id": "p", "name": self.name, "entityName": ENTITY, "createdAt": TIME}
        return {"models": {"pageInfo": PAGE, "edges": [{"node": {**node, "isBenchmark": False, "user": None}}]}}

    def view(self, server: Double, variables: dict[str, Any]) -> dict[str, Any]:
        found = [view for view in self.views.values() if view["name"] == variables["viewName"]]
        return {"project": {"allViews": {"edges": [{"node": view} for view in found]}}}

    def upsert_view(self, server: Double, variables: dict[str, Any]) -> dict[str, Any]:
        view_id = variables.get("id") or f"view-{len(self.views)}"
        project = {"id": "p", "name": variables["projectName"], "entityName": variables["entityName"]}
        self.views[view_id] = {**variables, "id": view_id, "project": project, "updatedAt": TIME}
        return {"upsertView": {"view": self.views[view_id], "inserted": True}}

    def runs(self, server: Double, variables: dict[str, Any]) -> dict[str, Any]:
        edges = [{"node": _run(name, config), "cursor": name} for name, config in self.configs.items()]
        runs = {"edges": edges, "pageInfo": PAGE}
        return {"project": {"internalId": "1", "runCount": len(edges), "readOnly": False, "runs": runs}}

    def membership(self, server: Double, variables: dict[str, Any]) -> dict[str, Any]:
        name = variables["name"].partition(":")[0]
        if name not in self.artifacts:
            return {"project": None}
        collection = self._collection(name)
        member = {"id": f"m-{name}", "versionIndex": 0, "createdAt": TIME, "aliases": [_LATEST]}
        member |= {"__typename": "ArtifactCollectionMembership", "artifactCollection": collection}
        return {"project": {"artifactCollectionMembership": {**member, "artifact": self._artifact(name)}}}

    def artifact_by_id(self, server: Double, variables: dict[str, Any]) -> dict[str, Any]:
        return {"artifact": self._artifact(variables["id"])}

    def create_artifact(self, server: Double, variables: dict[str, Any]) -> dict[str, Any]:
        """Answers as if the server had the artifact's files already."""
        given = variables["input"]
        name = given["artifactCollectionName"]
        self.artifacts[name] = given["artifactTypeName"]
        artifact = {"id": name, "state": "COMMITTED", "artifactSequence": {"id": f"s-{name}"}}
        return {"createArtifact": {"artifact": artifact}}

    def use_artifact(self, server: Double, variables: dict[str, Any]) -> dict[str, Any]:
        self.uses.append((variables["runName"], variables["artifactID"]))
        return {"useArtifact": {"artifact": {"id": variables["artifactID"]}}}

    def _collection(self, name: str) -> dict[str, Any]:
        project = {"id": "p", "internalId": "1", "name": self.name, "entity": {"name": ENTITY}}
        return {"__typename": "ArtifactSequence", "name": name, "project": project}

    def _artifact(self, name: str) -> dict[str, Any]:
        return {
            "__typename": "Artifact",
            "id": name,
            "artifactSequence": self._collection(name),
            "versionIndex": 0,
            "artifactType": {"name": self.artifacts[name]},
            "description": None,
            "metadata": "{}",
            "ttlDurationSeconds": -2,
            "ttlIsInherited": True,
            "tags": [],
            "historyStep": None,
            "state": "COMMITTED",
            "size": 1,
            "digest": "0",
            "commitHash": None,
            "fileCount": 1,
            "createdAt": TIME,
            "updatedAt": None,
            "aliases": [{**_LATEST, "artifactCollection": self._collection(name)}],
        }


_LATEST = {"__typename": "ArtifactAlias", "id": "a", "alias": "latest"}


def _run(name: str, config: dict[str, Any]) -> dict[str, Any]:
    """Returns a run as the server lists it."""
    keys = ("sweepName", "group", "commit", "heartbeatAt", "description", "notes", "historyKeys")
    return {
        **dict.fromkeys(keys),
        "id": f"id-{name}",
        "projectId": "1",
        "tags": [],
        "name": name,
        "displayName": name,
        "state": "finished",
        "config": json.dumps({key: {"value": value} for key, value in config.items()}),
        "jobType": "explain",
        "readOnly": False,
        "createdAt": TIME,
        "systemMetrics": "{}",
        "summaryMetrics": "{}",
        "historyLineCount": 0,
        "user": {"name": ENTITY, "username": ENTITY},
    }


@pytest.fixture
def project(double: Double, monkeypatch: pytest.MonkeyPatch) -> ProjectDouble:
    """A project P at the stand-in."""
    stand_in = ProjectDouble()
    operations = {
        "GetDefaultEntity": stand_in.default_entity,
        "GetProjects": stand_in.projects,
        "View": stand_in.view,
        "UpsertView2": stand_in.upsert_view,
        "upsertView": stand_in.upsert_view,
        "Runs": stand_in.runs,
        "ArtifactMembershipByName": stand_in.membership,
        "ArtifactByID": stand_in.artifact_by_id,
        "CreateArtifact": stand_in.create_artifact,
        "UseArtifact": stand_in.use_artifact,
    }
    for name, operation in operations.items():
        monkeypatch.setitem(wandb_double.OPERATIONS, name, operation)
    return stand_in
