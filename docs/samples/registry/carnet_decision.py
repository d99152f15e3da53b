"""Decides whether the entries of a verified access token of Carnet allow an operation."""

import re
import string

TEXT, OPTIONAL, NUMBER = (str,), (str, None), (int,)
GROUND = {"kind": ("federated_credential", "principal"), "id": TEXT, "revision?": NUMBER}
ENTRY = {"type": TEXT, "actions": [TEXT], "packages": [TEXT], "owner": TEXT, "principal": TEXT, "credential": TEXT,
         "revision": NUMBER, "locations": [TEXT], "rests_on?": [GROUND], "version?": OPTIONAL, "digest?": OPTIONAL}
LOWER = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)
FOLD = {  # by package_names of the resource server in Carnet
    "exact": str,
    "ascii_case_insensitive": lambda name: name.translate(LOWER),
    "pep503": lambda name: re.sub("[-_.]+", "-", name.translate(LOWER)),
    "cargo": lambda name: name.translate(LOWER).replace("-", "_"),
}


class Denied(Exception):
    """Answer 403 with the error insufficient_scope. The text is the reason."""


def fits(value, form):
    """Whether an entry has the known form. Another one may hold a restriction, so it allows nothing."""
    if isinstance(form, list):
        return isinstance(value, list) and all(fits(each, form[0]) for each in value)
    if isinstance(form, tuple):
        return type(value) in form or value in form
    known = {name.rstrip("?"): member for name, member in form.items()}
    return isinstance(value, dict) and value.keys() >= form.keys() & known.keys() and all(
        name in known and fits(each, known[name]) for name, each in value.items())


def is_pattern(text):
    is_plain = text.strip(".") == text and not re.search(r"[\s\0-\x1f\x7f-\x9f]", text)
    return is_plain and 0 < len(text.encode()) <= 256


def matches(pattern, name):
    """The atomic groups keep a pattern of many stars from costing much time."""
    first, *rest = map(re.escape, pattern.split("*"))
    middle = "".join(f"(?>.*?{piece})" for piece in rest[:-1])
    return re.fullmatch(first + middle + (".*" + rest[-1] if rest else ""), name, re.DOTALL) is not None


def decide(entries, package_names, action, package, version, digest, exists, owned_by, may_act_for):
    """The entry that allows the operation: its owner is that of a new package."""
    fold = FOLD[package_names]
    entries = [entry for entry in entries if fits(entry, ENTRY) and entry["type"] == "package"]

    def covers(entry):
        return is_pattern(package) and "*" not in package and any(
            is_pattern(pattern) and matches(fold(pattern), fold(package)) for pattern in entry["packages"])

    conditions = [
        ("package_out_of_scope", covers),
        ("action_out_of_scope", lambda entry: action in entry["actions"]),
        ("create_denied", lambda entry: exists or "create" in entry["actions"]),
        ("version_mismatch", lambda entry: entry.get("version") in (None, version)),
        ("digest_mismatch", lambda entry: entry.get("digest") in (None, digest)),
        ("owner_lost", lambda entry: not exists or owned_by(entry["owner"])),
        ("owner_lost", lambda entry: may_act_for(entry["principal"], entry["owner"])),
    ]
    # How far each entry gets; the reason is that of the one that gets farthest.
    reached = [next((at for at, (_, holds) in enumerate(conditions) if not holds(entry)), 7) for entry in entries]
    if 7 not in reached:
        raise Denied(conditions[max(reached, default=0)][0])
    entry = entries[reached.index(7)]
    rivals = (other for other in entries if other["principal"] != entry["principal"] and "create" in other["actions"])
    if not exists and any(covers(other) for other in rivals):
        raise Denied("owner_ambiguous")
    return entry
