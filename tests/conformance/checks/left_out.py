"""Lines of sections 1.1 to 1.9 without a check of their own."""

# The line says the same as these.
ELSEWHERE = {
    "RFC7523-3-10": "all of section 1.7",
    "RFC7521-4-1": "RFC6749-3.2-1",
    "RFC7521-5.2-1": "RFC7523-3-2b",
    "RFC7521-8.2-1": "RFC7523-3-7",
    "RFC8693-5-1": "WIMSECX-LIFE-1, WIMSECX-SCOPE-1",
    "RFC9068-2.2.3-2": "RFC8693-2.1.1-1",
    "RFC9068-3-4": "RFC8693-2.1.1-1",
    "RFC9068-6-1": "RFC8693-6-1",
    "RFC8725-3.8-1": "RFC7523-3-9",
    "RFC8725-3.9-1": "RFC7523-3-3",
    "WIMSE-FMT-2": "RFC7523-3-3",
    "WIMSE-AUD-1": "RFC7523-3-3",
    "WIMSE-SEC-1": "RFC6749-10.3-1",
    "WIMSECX-OBO-1": "RFC8693-4.4-2",
}

START = "needs a server that is started with another configuration, wrong ones among them"
INSIDE = "cannot be seen from outside"
POLICY = "is about what the server's administrators may save"
OPTIONAL = "is an option that has no common form"

NOT_COVERED = {
    "RFC8693-2.1-13": OPTIONAL,
    "RFC8693-4.1-3": "is a rule for the resource server, which would need rules about actors",
    "RFC8707-3-1": "needs several tenants behind one host",
    "RFC9068-2.1-2": START,
    "RFC9068-5-1": START,
    "RFC9068-5-2": "needs dynamic client registration",
    "RFC8414-3-2": START,
    "RFC8414-4-1": INSIDE,
    "RFC8414-6.2-1": "needs several tenants behind one host",
    "RFC8725BIS-3.1-1": INSIDE,
    "RFC8725BIS-3.10-3": "needs a name server that changes its answers",
    "WIMSE-LIFE-1": "needs a platform that is asked about its workloads",
    "WIMSE-LIFE-2": "needs a platform that is asked about its workloads",
    "WIMSE-AUD-3": "is advice for documentation",
    "WIMSE-AUD-5": POLICY,
    "WIMSE-TEN-1": "needs several tenants with one issuer",
    "WIMSE-TEN-2": POLICY,
    "WIMSE-TEN-3": POLICY,
    "WIMSECX-TRUST-3": OPTIONAL,
    "WIMSECX-TRUST-4": OPTIONAL,
    "WIMSECX-LIFE-3": OPTIONAL,
    "WIMSECX-CHAN-1": "is advice for documentation",
    "WIMSECX-SCREC-1": INSIDE,
    "WIMSECX-STEP-1": "needs a server that demands nonces of every proof",
    "WIMSECX-ATT-1": OPTIONAL,
}
