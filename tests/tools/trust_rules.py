"""Writes the conditions of the foreign suite (trust_conditions.py) as rules in the fields of profiles."""

import re

ISSUERS = {
    "github": ("github-actions", "https://token.actions.githubusercontent.com"),
    "gitlab": ("gitlab-ci", "https://gitlab.com"),
    "circleci": ("circleci", "https://oidc.circleci.com/org/2a3b4c5d-1111-2222-3333-444455556666"),
    "bitbucket": (
        "bitbucket",
        "https://api.bitbucket.org/2.0/workspaces/acme/pipelines-config/identity/oidc",
    ),
    "terraform-cloud": ("terraform-cloud", "https://app.terraform.io"),
}
# What the owners in the suite would look up: the ids of what they name.
GITHUB_OWNER_ID = "123456"
WORKSPACE_UUID = "{922e118c-f34f-4226-a897-0e0afbec553d}"
TERRAFORM_IDS = {"my-org": "org-ABC123DEF", "my-project": "prj-1", "my-workspace": "ws-XYZ789GHI"}


class Glob(str):
    """Text in which `*` and `?` are wildcards. In any other text they are plain characters."""

    def is_wide(self):
        return "*" in self or "?" in self


def clauses(condition):
    """The claims of a condition with the values or patterns that they have to fit."""
    if "of" in condition:
        return [clause for part in condition["of"] for clause in clauses(part)]
    pattern = condition.get("pattern", condition.get("expression", condition.get("values")))
    if "claim" in condition:
        # The exact operators of AWS and Azure take a star as it is.
        form = Glob if condition["consumer"] == "aws-stringlike" else str
        is_list = isinstance(pattern, list)
        return [(condition["claim"], [form(one) for one in pattern] if is_list else form(pattern))]
    return clauses_of_expression(pattern)


def clauses_of_expression(text):
    name = r"(?:claims\['([^']+)'\]|assertion\.(\w+)|assertion\['([^']+)'\])"
    forms = [
        (r"\.startsWith\('([^']*)'\)", lambda value: Glob(value + "*")),
        (r"\s*matches\s*'([^']*)'", Glob),
        (r"\s*(?:eq|==)\s*'([^']*)'", str),
        (r"\s*==\s*(\d+|true)\b", str),
        (r"\s*in\s*\[([^\]]*)\]", lambda values: re.findall(r"'([^']*)'", values)),
    ]
    found = []
    for form, value in forms:
        for a, b, c, given in re.findall(name + form, text):
            found.append((a or b or c, value(given)))
        text = re.sub(name + form, "", text)
    # What is left when the known clauses are taken out cannot be written as a rule.
    return found if re.fullmatch(r"[\s&()]*(and[\s&()]*)*", text) else [(None, text)]


def matcher(pattern):
    """A star of the other services does not stop at a slash, so it is written as two."""
    if isinstance(pattern, list):
        return {"any_of": pattern}
    if isinstance(pattern, Glob) and "*" in pattern:
        return {"glob": pattern.replace("*", "**")}
    return pattern


def github_subject(subject, rule):
    form = type(subject)
    if isinstance(subject, list):
        rule["repository_owner_id"] = GITHUB_OWNER_ID
        loose = [one for one in subject if isinstance(one, Glob) and "*" in one]
        rule["subject"] = matcher(loose[0] if loose else subject)
        return
    subject, called = re.fullmatch(r"(.*?)(?:(?:^|:)job_workflow_ref:(.+))?", subject).groups()
    if called:
        github("job_workflow_ref", called, rule)
    subject = form(subject)
    parts = re.fullmatch(r"repo:([^/:*]+)/([^:*]+)(?::(.*))?", subject, re.DOTALL)
    if parts is None and not subject:
        rule["repository_owner_id"] = GITHUB_OWNER_ID
        return
    if parts is None:
        rule["repository_owner_id"] = GITHUB_OWNER_ID
        rule["subject"] = matcher(subject)
        return
    owner, name, rest = parts.groups()
    if "@" in owner:
        owner, rule["repository_owner_id"] = owner.split("@")
    if "@" in name:
        name, rule["repository_id"] = name.split("@")
    rule["repository"] = f"{owner}/{name}"
    if rest and rest.startswith("ref:"):
        rule["ref"] = matcher(form(rest[4:]))
    elif rest and rest.startswith("environment:") and ":" not in rest[12:]:
        rule["environment"] = matcher(form(rest[12:].replace("%3A", ":")))
    elif rest == "pull_request":
        rule.update(events=["pull_request"], workflow_file="release.yml")
    else:
        rule["subject"] = matcher(subject)


def github(claim, pattern, rule):
    if claim == "sub":
        github_subject(pattern, rule)
    elif claim in ("repository_owner_id", "repository_id", "repository", "ref", "environment", "actor_id"):
        rule[claim] = matcher(pattern)
    elif claim == "job_workflow_ref":
        path, revision = pattern.rsplit("@", 1)
        member = "ref" if revision.startswith("refs/") else "sha"
        rule["called_workflow"] = {"path": type(pattern)(path), member: revision}
    else:
        rule.setdefault("claims", {})[claim] = pattern


def gitlab_ref(kind, reference, form, rule):
    if reference == "*" and form is Glob:
        rule["claims"] = {"ref_type": kind}
    else:
        rule["ref_type"] = {"any_of": ["branch", "tag"]} if kind == "*" else kind
        rule["ref"] = matcher(form(reference))


def gitlab(claim, pattern, rule):
    form = type(pattern)
    by_id = re.fullmatch(r"project_id:(\d+):ref_type:([^:]+):ref:(.*)", pattern)
    by_path = re.fullmatch(r"project_path:(.+)/([^/:]+)(?::ref_type:([^:]+):ref:(.*))?", pattern)
    if claim == "sub" and by_id:
        rule["project_id"] = by_id[1]
        gitlab_ref(by_id[2], by_id[3], form, rule)
    elif claim == "sub" and by_path:
        rule["namespace"] = by_path[1]
        if by_path[2] != "*" or form is not Glob:
            rule["project"] = by_path[2]
        if by_path[3]:
            gitlab_ref(by_path[3], by_path[4], form, rule)
    elif claim in ("project_id", "namespace_id"):
        rule[claim] = pattern
    elif claim == "project_path":
        rule["namespace"], rule["project"] = pattern.rsplit("/", 1)
    elif (claim, pattern) == ("ref_protected", "true"):
        rule["require_ref_protected"] = True
    else:
        rule.setdefault("claims", {})[claim] = pattern


def circleci(claim, pattern, rule):
    ids = re.match(r"org/([^/*]+)(?:/project/([^/*]+))?", pattern)
    if claim == "sub" and ids:
        rule["org_id"] = ids[1]
        if ids[2]:
            rule["project_id"] = ids[2]
        if ref := re.search(r"/vcs-ref/(.+)$", pattern):
            rule["vcs_ref"] = ref[1]
        if "*" not in pattern:
            rule["claims"] = {"sub": pattern}
    else:
        rule[claim.split("/")[-1].replace("-", "_")] = pattern


def bitbucket(claim, pattern, rule):
    parts = pattern.split(":")
    if parts[0] == "*":
        rule["workspace_uuid"] = WORKSPACE_UUID
    else:
        rule["repository_uuid"] = parts[0]
    if len(parts) > 2:
        rule["deployment_environment_uuid"] = parts[1]
    if not isinstance(pattern, Glob):
        rule["claims"] = {"sub": pattern}


def terraform(claim, pattern, rule):
    names = dict(re.findall(r"(organization|project|workspace|run_phase):([^:]+)", pattern))
    if claim == "sub":
        for name, given in names.items():
            if given != "*" or not isinstance(pattern, Glob):
                field = name if name == "run_phase" else f"{name}_id"
                rule[field] = TERRAFORM_IDS.get(given, given)
        return
    field = claim.removeprefix("terraform_")
    if field in ("organization_id", "project_id", "workspace_id", "run_phase"):
        rule[field] = pattern
    else:
        rule.setdefault("claims", {})[claim] = pattern


FORMS = {
    "github": github,
    "gitlab": gitlab,
    "circleci": circleci,
    "bitbucket": bitbucket,
    "terraform-cloud": terraform,
}


def rule_of(vector):
    """The rule in the profile's own fields; `None` if the condition cannot be written."""
    rule = {}
    for claim, pattern in clauses(vector["condition"]):
        if claim is None:
            return None
        # The audience is the trusted issuer's, and no condition of a rule.
        if claim != "aud":
            FORMS[vector["issuer"]](claim, pattern, rule)
    return rule


def completed(vector, rule):
    """The rule with the least that saving asks for beside it."""
    rule, issuer = dict(rule), vector["issuer"]
    if issuer == "github":
        if not rule.keys() & {"repository", "repository_id", "repository_owner_id"}:
            given = vector.get("claims") or {}
            rule["repository_owner_id"] = given.get("repository_owner_id", GITHUB_OWNER_ID)
        jobs = {"workflow_file", "called_workflow", "environment", "ref", "subject"}
        if not rule.keys() & jobs:
            rule["workflow_file"] = "release.yml"
    elif issuer == "gitlab":
        if not rule.keys() & {"namespace", "namespace_id", "project_id"}:
            rule["project_id"] = "20"
        if not rule.keys() & {"ci_config_path", "environment", "ref", "require_ref_protected"}:
            rule["ci_config_path"] = ".gitlab-ci.yml"
    elif issuer == "terraform-cloud":
        if not rule.keys() & {"organization_id", "project_id", "workspace_id"}:
            rule["organization_id"] = TERRAFORM_IDS["my-org"]
    return rule


def needs_wildcards(rule):
    """Whether a wildcard stands where Carnet has none, so that it is a plain character in the rule."""
    if isinstance(rule, dict):
        return any(needs_wildcards(value) for name, value in rule.items() if name != "glob") or (
            "?" in rule.get("glob", "")
        )
    if isinstance(rule, list):
        return any(needs_wildcards(value) for value in rule)
    return isinstance(rule, Glob) and rule.is_wide()
