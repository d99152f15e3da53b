"""Makes the token of each vector of the foreign suite: the platform's claims, and the vector's own on top."""

import re

from trust_rules import GITHUB_OWNER_ID, ISSUERS, TERRAFORM_IDS, WORKSPACE_UUID, clauses

AUDIENCE = "https://carnet.example"
NOW = 1790000000
SHA = "1a2b3c4d1a2b3c4d1a2b3c4d1a2b3c4d1a2b3c4d"
# What a vector says in words only.
MEANT = {
    "gitlab-aws-merge-request-source-branch-admitted": {"pipeline_source": "merge_request_event"},
}


def github(subject):
    repository, owner_id, repository_id = "octo-org/octo-repo", GITHUB_OWNER_ID, "7891011"
    if parts := re.match(r"repo:([^/:@]+)(?:@(\d+))?/([^:@]+)(?:@(\d+))?", subject):
        owner, given_owner_id, name, given_id = parts.groups()
        repository = f"{owner}/{name}"
        owner_id = given_owner_id or (GITHUB_OWNER_ID if owner.lower() == "octo-org" else "999999")
        repository_id = given_id or ("7891011" if repository.lower() == "octo-org/octo-repo" else "5550123")
    ref, event = "refs/heads/main", "push"
    if ":pull_request" in subject:
        ref, event = "refs/pull/42/merge", "pull_request"
    elif found := re.search(r":ref:([^:]+)", subject):
        ref = found[1]
    file = f"{repository}/.github/workflows/release.yml@{ref}"
    called = re.search(r"job_workflow_ref:(.+)", subject)
    claims = {
        "repository": repository,
        "repository_id": repository_id,
        "repository_owner_id": owner_id,
        "repository_visibility": "private",
        "workflow": "Release",
        "workflow_ref": file,
        "job_workflow_ref": called[1] if called else file,
        "ref": ref,
        "ref_protected": "false",
        "sha": SHA,
        "event_name": event,
        "runner_environment": "github-hosted",
        "run_id": "9001",
        "run_attempt": "1",
    }
    if found := re.search(r"(?:^|:)environment:([^:]+)", subject):
        claims["environment"] = found[1].replace("%3A", ":")
    return claims


def finish_github(claims):
    """What follows from claims that the vector may have changed."""
    claims["repository_owner"] = claims["repository"].split("/")[0]
    kinds = {"refs/heads/": "branch", "refs/tags/": "tag"}
    claims["ref_type"] = next((kind for start, kind in kinds.items() if claims["ref"].startswith(start)), "")
    claims["workflow_ref"] = f"{claims['repository']}/.github/workflows/release.yml@{claims['ref']}"
    revision = claims["job_workflow_ref"].rsplit("@", 1)[1]
    claims["job_workflow_sha"] = SHA if revision.startswith("refs/") else revision


def gitlab(subject):
    path, project_id = "mygroup/myproject", "20"
    if found := re.match(r"project_path:([^:]+)", subject):
        path = found[1]
        project_id = "20" if path == "mygroup/myproject" else "21"
    kind, ref = re.search(r"ref_type:([^:]+):ref:(.+)", subject).groups()
    ref_path = f"refs/{'tags' if kind == 'tag' else 'heads'}/{ref}"
    namespace = path.rsplit("/", 1)[0]
    return {
        "namespace_path": namespace,
        "namespace_id": "72" if namespace == "mygroup" else "73",
        "project_path": path,
        "project_id": project_id,
        "ref": ref,
        "ref_type": kind,
        "ref_path": ref_path,
        "ref_protected": "false",
        "sha": SHA,
        "pipeline_source": "push",
        "runner_environment": "gitlab-hosted",
        "ci_config_ref_uri": f"gitlab.com/{path}//.gitlab-ci.yml@{ref_path}",
    }


def circleci(subject):
    organization, project = re.match(r"org/([^/]+)/project/([^/]+)", subject).groups()
    claims = {
        "oidc.circleci.com/org-id": organization,
        "oidc.circleci.com/project-id": project,
        "oidc.circleci.com/ssh-rerun": False,
    }
    if found := re.search(r"/vcs-origin/(.+)/vcs-ref/(.+)$", subject):
        claims["oidc.circleci.com/vcs-origin"], claims["oidc.circleci.com/vcs-ref"] = found.groups()
    return claims


def bitbucket(subject):
    repository, *environment, step = re.findall(r"\{[^}]*\}", subject)
    claims = {"workspaceUuid": WORKSPACE_UUID, "repositoryUuid": repository, "stepUuid": step}
    if environment:
        claims["deploymentEnvironmentUuid"] = environment[0]
    return claims | {"pipelineUuid": "{0a1b}", "branchName": "main"}


def terraform(subject):
    names = dict(re.findall(r"(organization|project|workspace|run_phase):([^:]+)", subject))
    ids = {
        f"terraform_{kind}_id": TERRAFORM_IDS.get(names[kind], f"{short}-{names[kind]}")
        for kind, short in (("organization", "org"), ("project", "prj"), ("workspace", "ws"))
    }
    named = {f"terraform_{kind}_name": names[kind] for kind in ("organization", "project", "workspace")}
    return ids | named | {"terraform_run_id": "run-1", "terraform_run_phase": names["run_phase"]}


FORMS = {
    "github": github,
    "gitlab": gitlab,
    "circleci": circleci,
    "bitbucket": bitbucket,
    "terraform-cloud": terraform,
}


def claims_of(vector):
    """The payload of the vector's token. An audience that its condition pins becomes Carnet's."""
    given = vector.get("claims") or {}
    claims = {
        "iss": ISSUERS[vector["issuer"]][1],
        "aud": AUDIENCE,
        "sub": vector["subject"],
        "jti": vector["id"],
        "iat": NOW - 10,
        "exp": NOW + 290,
    }
    claims |= FORMS[vector["issuer"]](vector["subject"]) | given | MEANT.get(vector["id"], {})
    pinned = [pattern for claim, pattern in clauses(vector["condition"]) if claim == "aud"]
    if claims["aud"] in pinned:
        claims["aud"] = AUDIENCE
    if vector["issuer"] == "github":
        finish_github(claims)
    elif vector["issuer"] == "gitlab":
        claims["job_project_id"] = claims["project_id"]
    return claims
