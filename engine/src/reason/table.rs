//! The table of reasons, in the order in which the checks are made.

use super::{Class, Disclosure};

macro_rules! reasons {
    ($($variant:ident = $code:literal $class:ident $disclosure:ident: $sentence:literal, $meaning:literal, $remedy:literal;)*) => {
        /// The cause of a refusal.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Reason {
            $(#[doc = $sentence] $variant,)*
        }

        impl Reason {
            /// Every reason, in the order in which the checks are made.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The stable code, as in `reason` of an error answer.
            pub const fn code(self) -> &'static str {
                match self { $(Self::$variant => $code,)* }
            }

            /// The class, which decides the HTTP status and the `error` of the answer.
            pub const fn class(self) -> Class {
                match self { $(Self::$variant => Class::$class,)* }
            }

            /// Who may be told this reason.
            pub const fn disclosure(self) -> Disclosure {
                match self { $(Self::$variant => Disclosure::$disclosure,)* }
            }

            /// The sentence for the caller (`error_description`), without any value of the request.
            pub const fn sentence(self) -> &'static str {
                match self { $(Self::$variant => $sentence,)* }
            }

            /// What the reason means, for `/reasons/{reason}`.
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$variant => $meaning,)* }
            }

            /// How to remove the cause, for `/reasons/{reason}`.
            pub const fn remedy(self) -> &'static str {
                match self { $(Self::$variant => $remedy,)* }
            }
        }
    };
}

reasons! {
    // === the request ===
    MethodNotAllowed = "method_not_allowed" Method Anyone: "this endpoint does not take requests of this method",
        "The endpoint was called with a method that it does not know; the header Allow names those that it does.",
        "Send the parameters in the body of a POST request.";
    PathUnknown = "path_unknown" Path Anyone: "there is nothing at this path",
        "The server has no such path. A slash too many makes another path of it.",
        "Compare the path with the server's metadata document.";
    BodyTooLarge = "body_too_large" Size Anyone: "the request body is too large",
        "A request body may have 64 KiB, and a form of the pages for people 256 KiB.",
        "Send only the parameters that are needed; an assertion has about 2 KiB.";
    RateLimited = "rate_limited" Limit Anyone: "too many requests",
        "A limit of this server was reached. The limits count failed requests by address, and issued tokens by federated credential and by trusted issuer, so one noisy caller does not slow the others.",
        "Wait for the time in Retry-After. The operator finds the limits under rate_limits in the configuration.";
    MediaType = "media_type" Request Anyone: "the request body is not application/x-www-form-urlencoded in UTF-8",
        "The token endpoint takes form-encoded parameters (RFC 6749 section 3.2), uncompressed.",
        "Set Content-Type: application/x-www-form-urlencoded and send no Content-Encoding. Most HTTP libraries do so when they are given form fields.";
    FormMalformed = "form_malformed" Request Anyone: "the form parameters cannot be decoded",
        "The body has a % that is not followed by two hexadecimal digits, bytes that are not UTF-8, or more than 64 parameters.",
        "Let an HTTP library encode the form.";
    JsonMalformed = "json_malformed" Request Anyone: "the request body is not the JSON that this endpoint takes",
        "The endpoints of a registry's own protocol take a JSON object with a few texts in it, at the most 64 KiB. detail names what is wrong.",
        "Send the object with Content-Type: application/json. The registry's own tools do so by themselves.";
    ParameterInQuery = "parameter_in_query" Request Anyone: "parameters belong in the request body, not in the URL",
        "The URL carries an OAuth parameter. URLs end up in logs, so nothing is read from there.",
        "Move the parameters into the form body. If the URL held an assertion or a secret, treat it as exposed.";
    ParameterRepeated = "parameter_repeated" Request Anyone: "a parameter is given more than once",
        "Each parameter may be given once (RFC 6749 section 3.2); only resource may repeat, and audience in a token exchange.",
        "Remove the second occurrence.";
    ParameterMissing = "parameter_missing" Request Anyone: "a required parameter is missing",
        "The grant needs a parameter that is absent or empty. The answer's parameter member names it.",
        "Add the parameter. The jwt-bearer grant needs grant_type and assertion, the token exchange grant_type, subject_token and subject_token_type.";
    ParameterMalformed = "parameter_malformed" Request Anyone: "a parameter has a value that cannot be used",
        "A parameter is too long or not of the form its definition asks for. The answer's parameter member names it.",
        "Correct the value.";
    GrantTypeUnsupported = "grant_type_unsupported" GrantType Anyone: "the grant type is not supported",
        "grant_type names no grant of this server. The names are compared exactly.",
        "Use one of grant_types_supported in the server's metadata, for example urn:ietf:params:oauth:grant-type:jwt-bearer.";

    // === the client ===
    ClientAuthenticationFailed = "client_authentication_failed" Client Anyone: "client authentication failed",
        "The client is not registered or disabled, its credentials are wrong, or a method of authentication was used that it is not registered for.",
        "At the token endpoint a job that presents its platform's token needs no client: leave client_id and the Authorization header out. For a registered client, compare client_id, the secret and the client's auth_method; one of self_signed_tls_client_auth connects with its certificate to the URL in mtls_endpoint_aliases of the server's metadata. Introspection always needs a registered client.";
    ClientMethodsMixed = "client_methods_mixed" Request Anyone: "the client proves itself in two ways at once",
        "A request has one method of client authentication (RFC 6749 section 2.3): a secret in the Authorization header, a secret in the body, or an assertion.",
        "Send one of them. A netrc file, or a proxy, may have added the header.";
    ClientMethodMismatch = "client_method_mismatch" Client Anyone: "the client is registered for another method of authentication",
        "The secret is right and came by the wrong way: in the Authorization header for a client registered with client_secret_post, or in the body for one with client_secret_basic (RFC 6749 section 2.3.1).",
        "Change the client's auth_method, or let the library use the registered method. Libraries that try both work either way.";
    ClientNotAllowed = "client_not_allowed" ClientUse Anyone: "the client may not use this grant type",
        "The client is registered without this grant type.",
        "Add the grant type to the client's grant_types.";

    // === the parameters of the grant ===
    ScopeMalformed = "scope_malformed" Scope Anyone: "the scope is not a list of scope tokens",
        "Scope tokens are separated by single spaces and hold printable ASCII characters except the quotation mark and the backslash (RFC 6749 section 3.3). A request may name 100.",
        "Name actions of the registry, for example scope=publish.";
    ResourceMalformed = "resource_malformed" Target Anyone: "the resource is not an absolute URI without fragment",
        "resource names the registry by its URI (RFC 8707 section 2).",
        "Use the resource URI that the registry publishes, for example https://registry.example/.";
    TokenTypeUnsupported = "token_type_unsupported" Request Anyone: "the token type is not supported",
        "A parameter of the token exchange names a type of token that this server does not take or issue (RFC 8693 section 3).",
        "Say urn:ietf:params:oauth:token-type:jwt for the platform's token, and urn:ietf:params:oauth:token-type:access_token for an access token of this server. Leave requested_token_type out: only access tokens are issued.";
    DetailsMalformed = "details_malformed" Details Anyone: "the authorization details cannot be used",
        "authorization_details is a JSON array of objects of type package with actions and packages, and optionally owner, version, digest and locations; any other member is refused (RFC 9396 section 5).",
        "Correct what detail names; the book's page on the token request shows the form of the array.";

    // === the proof of possession ===
    ProofInvalid = "proof_invalid" Proof Anyone: "the DPoP proof is not valid for this request",
        "The DPoP header holds a JWT that shows possession of a key, made for this one request: method, URL, time and a signature by the key in its own header (RFC 9449 section 4.3). The answer says which of them does not hold.",
        "Make a new proof for each request, with the URL that the request is sent to, and compare the clocks. carnet dpop-proof makes one.";
    ProofReplayed = "proof_replayed" Proof Anyone: "the DPoP proof was used before",
        "A token was already issued with this proof. Each proof is good for one request.",
        "Make a new proof for each request.";
    ProofNonce = "proof_nonce" ProofNonce Anyone: "the DPoP proof needs the nonce of this server",
        "This server wants its own nonce in proofs, so that nobody can make them in advance (RFC 9449 section 8).",
        "Take the value of the answer's DPoP-Nonce header as the nonce claim of a new proof and repeat the request. Libraries for DPoP do so by themselves.";
    DpopRequired = "dpop_required" Request Anyone: "the client has to send a DPoP proof",
        "The client is registered with dpop_bound_access_tokens: it gets no token that is not bound to a key (RFC 9449 section 5.2).",
        "Send a DPoP header, or correct the client.";
    CertificateInvalid = "certificate_invalid" Certificate Anyone: "the client certificate cannot be used",
        "The TLS connection was made with a client certificate whose time is over or has not begun, or whose key is too weak. One that came is never ignored: without it, the token would be one that anybody can use. detail says what is wrong.",
        "Make the connection with another certificate, or with none. A self-signed one is as good as any (RFC 8705 section 2.2).";
    CertificateRequired = "certificate_required" Request Anyone: "the client has to send its request with a client certificate",
        "The client is registered with tls_client_certificate_bound_access_tokens: it gets no token that is not bound to its certificate (RFC 8705 section 3.4).",
        "Send the request to the endpoint among mtls_endpoint_aliases in the server's metadata, over a TLS connection with a client certificate, or correct the client.";
    FapiUnmet = "fapi_unmet" Profile Anyone: "the request does not meet the FAPI 2.0 Security Profile, to which the client is held",
        "The client is registered with fapi2. It authenticates with a key of its own, signs with PS256, ES256 or EdDSA, names the issuer identifier alone and as a string in aud, and gets only tokens that are bound to a key or a certificate. detail says what is missing.",
        "Correct what detail names, or register the client without fapi2.";

    // === the assertion ===
    AssertionWhitespace = "assertion_whitespace" Assertion Anyone: "there is white space around or within the assertion",
        "A JWT has none. Files often end with a line break, which becomes part of the parameter.",
        "Send the token without it, such as $(cat FILE) does in a shell.";
    AssertionMalformed = "assertion_malformed" Assertion Anyone: "the assertion is not a signed JWT in compact form",
        "The assertion is not three base64url segments holding a JSON header and JSON claims, or it is larger than 16 KiB or nested deeper than 100 levels.",
        "Send the token exactly as the platform gave it, without quotation marks, padding or a trailing newline; detail says what is wrong with it.";
    HeaderDenied = "header_denied" Assertion Anyone: "the assertion's header asks for something that is not accepted",
        "The header brings or names a key (jku, jwk, x5u, x5c), marks something as critical (crit), or says that the content is encrypted, compressed or nested.",
        "Send the platform's own identity token. No platform in the book sets these parameters.";
    TypDenied = "typ_denied" Assertion Anyone: "the assertion is a token of another kind",
        "The header's typ is not one that the trusted issuer may use. Access tokens (at+jwt), logout tokens and the like are not assertions.",
        "Send the platform's identity token, or add the type to the trusted issuer's types.";
    IssUnknown = "iss_unknown" Assertion Anyone: "the assertion's issuer is not trusted here",
        "No enabled trusted issuer has exactly this iss. Issuers are compared byte for byte: a slash at the end, another port or another letter case makes another issuer.",
        "Register the trusted issuer with the iss of the assertion, which received repeats. Self-managed platforms and every cluster have issuers of their own. If nearest is there, it is probably what was meant.";
    AlgDenied = "alg_denied" Assertion Anyone: "the assertion's signature algorithm is not accepted",
        "alg is not among the trusted issuer's algorithms.",
        "Compare the trusted issuer's algorithms with the platform's documentation. none and the HMAC family are never accepted.";
    KeyUnknown = "key_unknown" Assertion Anyone: "the assertion is signed with a key that the issuer does not publish",
        "The issuer's key set has no usable key of the header's kid, also after fetching it again, or the header has no kid and not exactly one key fits.",
        "If the issuer rotated its keys less than a minute ago, try again. Otherwise compare the trusted issuer's keys with what the platform publishes.";
    KeysUnavailable = "keys_unavailable" Upstream Anyone: "the issuer's keys cannot be looked up again yet",
        "The header names a key that was not among the issuer's keys when they were fetched a moment ago. It may be new, and keys are fetched at most once in 30 seconds. The assertion was not judged and not used up.",
        "Try again after the time in Retry-After. If it goes on, compare the trusted issuer's keys with what the platform publishes.";
    UpstreamUnavailable = "upstream_unavailable" Upstream Anyone: "the issuer's keys cannot be fetched at the moment",
        "The trusted issuer's discovery document or key set cannot be fetched or read, and no keys recent enough are held. The assertion was not judged and not used up.",
        "Try again after the time in Retry-After. The operator finds the cause in the log, and can test it with POST /admin/v1/trusted-issuers/{name}/refresh-keys.";
    AttestationMissing = "attestation_missing" Upstream Anyone: "the issuer's keys carry no attestation",
        "The trusted issuer's keys count only if the RPKI vouches for them, and the key set has no member rpki_attestation. The assertion was not judged and not used up.",
        "The network that runs the issuer must publish its key set with an attestation. Try again after the time in Retry-After.";
    AttestationStale = "attestation_stale" Upstream Anyone: "the attestation of the issuer's keys cannot be verified at the moment",
        "This server's copy of the RPKI lacks a certificate on the path of the attestation, or a current manifest or CRL. The assertion was not judged and not used up.",
        "The operator must see to it that the validator beside this server runs; the log names the object. Try again after the time in Retry-After.";
    AttestationMalformed = "attestation_malformed" Assertion Anyone: "the attestation of the issuer's keys cannot be read",
        "The member rpki_attestation of the key set is no RPKI signed message, or the set could be written in more than one way, so that it cannot be signed.",
        "The network that runs the issuer must sign its key set anew and publish it unchanged.";
    AttestationPurpose = "attestation_purpose" Assertion Anyone: "the attestation of the issuer's keys was made for something else",
        "The signed message has another content type, audience or purpose than this server is configured for.",
        "The object identifiers of both sides must agree: none is allocated yet. This server's are in its configuration, rpki.rsm.";
    AttestationMismatch = "attestation_mismatch" Assertion Anyone: "the attestation is not of these keys",
        "The key set was changed after it was attested, or the attestation is of another issuer's set.",
        "The network that runs the issuer must have its current key set attested.";
    AttestationExpired = "attestation_expired" Assertion Anyone: "the attestation of the issuer's keys has expired",
        "The certificate of the attestation, or one above it, is not valid now.",
        "The network that runs the issuer must have its key set attested anew.";
    AttestationUntrusted = "attestation_untrusted" Assertion Anyone: "nothing that is trusted vouches for the issuer's keys",
        "The path of the attestation does not end at a trust anchor that counts, a signature on it is wrong, or resources go beyond what the path gives.",
        "Compare the trust anchors and what the trusted issuer speaks for with the resources of the network; carnet attestation verify shows every step.";
    AttestationRevoked = "attestation_revoked" Assertion Anyone: "the attestation of the issuer's keys was revoked",
        "A CRL names the certificate of the attestation, or one above it.",
        "If the network that runs the issuer did not mean to, it must have its key set attested anew.";
    AttestationRolledBack = "attestation_rolled_back" Assertion Anyone: "the issuer's keys are older than ones that were seen before",
        "A key set that was attested later was already used, so this one may be withdrawn.",
        "If the network that runs the issuer went back on purpose, the operator lets the server forget: POST /admin/v1/trusted-issuers/{name}/refresh-keys?forget=true.";
    SignatureInvalid = "signature_invalid" Assertion Anyone: "the assertion's signature is not valid",
        "The signature was not made with the key that the header names.",
        "Send the token unchanged. If it is unchanged, it is from another issuer than it says.";
    ReviewDenied = "review_denied" Assertion Anyone: "the platform does not vouch for the assertion",
        "The cluster was asked about the token by TokenReview and did not say yes for this audience: the pod or the service account is gone, or the token is not of this cluster.",
        "Let a pod that is running make the request with a new token.";
    ClaimDuplicate = "claim_duplicate" Assertion Anyone: "a member occurs twice in the assertion",
        "The header or the claims name one member twice, so two readers could understand two different things.",
        "Report it to the platform: no platform in the book sends such tokens.";
    ClaimMissing = "claim_missing" Assertion Anyone: "a claim that is needed is missing",
        "The assertion lacks a claim that every assertion of its issuer must have, or that the rule compares. The answer's claim or mismatches member names it. A missing claim never counts as equal.",
        "If the platform sends the claim only on request, ask for it in the job. Else remove the condition from the rule.";
    ClaimType = "claim_type" Assertion Anyone: "a claim has the wrong type",
        "A claim is a number where a string is due, a string where a list is due, or the like. Types are never converted.",
        "Choose the trusted issuer's profile that fits the platform.";
    ClaimMalformed = "claim_malformed" Assertion Anyone: "a claim has a value that cannot be right",
        "A claim that is read is empty, too long, holds control characters, or is not of the form the platform documents.",
        "Choose the trusted issuer's profile that fits the platform.";
    ClaimInconsistent = "claim_inconsistent" Assertion Anyone: "two claims contradict each other",
        "Claims that say one thing twice do not agree, for example repository and repository_owner, or ref and ref_type, or exp lies before iat.",
        "Report it to the platform: its own tokens agree with themselves.";
    ResourceNotAttested = "resource_not_attested" Assertion Anyone: "the assertion names an AS number that its issuer may not speak for",
        "The claim asn holds a number that the RPKI does not attest to the issuer's keys, or that the trusted issuer does not speak for.",
        "Compare the claim with the resources of the attestation; the trusted issuer shows them as attested.";
    AudMismatch = "aud_mismatch" Assertion Anyone: "the assertion is for another audience",
        "aud is not one of the audiences that are accepted for this issuer. The answer lists them as accepted_audiences.",
        "Let the job request a token from its platform with one of the accepted audiences. The platform's default audience is shared by all its users and never accepted.";
    AudNotSingle = "aud_not_single" Assertion Anyone: "the assertion is for more than one audience",
        "aud has several elements, so another service could present the same token here.",
        "Ask the platform for a token with one audience. If it cannot do that, list the other values in the trusted issuer's extra_audiences.";
    Expired = "expired" Assertion Anyone: "the assertion has expired",
        "exp lies in the past by more than the leeway. The answer tells the server's time as server_time.",
        "Request a new token from the platform immediately before the exchange.";
    NotYetValid = "not_yet_valid" Assertion Anyone: "the assertion is not valid yet",
        "nbf lies in the future by more than the leeway. The answer tells the server's time as server_time.",
        "Compare the clocks of the platform and of this server.";
    IatFuture = "iat_future" Assertion Anyone: "the assertion was issued in the future",
        "iat lies in the future by more than the leeway. The answer tells the server's time as server_time.",
        "Compare the clocks of the platform and of this server.";
    IssuedBeforeRestore = "issued_before_restore" Assertion Anyone: "the assertion was issued before the server was restored",
        "The server was restored from a backup, which does not tell which assertions were used since. Those from before may have been used; so may those that do not say when they were issued, for 25 hours.",
        "Request a new assertion from the platform; a job that got its assertion before has to be started again.";
    LifetimeTooLong = "lifetime_too_long" Assertion Anyone: "the assertion lives too long",
        "exp is later than iat by more than the trusted issuer's max_assertion_lifetime_seconds. received is the lifetime of the assertion and limit the most that is accepted, both in seconds.",
        "Ask the platform for a token with a shorter life, or let the operator raise the limit of the trusted issuer.";
    ProofMissing = "proof_missing" Assertion Anyone: "the assertion is bound to a key, and no proof of that key came",
        "The assertion has a cnf claim: its issuer bound it to a key, so that a copy of it is worth nothing.",
        "Send a DPoP proof of that key with the request (RFC 9449). If cnf has x5t#S256, send it over a TLS connection with that certificate, to the endpoint among mtls_endpoint_aliases in the server's metadata (RFC 8705).";
    ProofMismatch = "proof_mismatch" Assertion Anyone: "the assertion is bound to another key than the proof's",
        "The assertion's cnf claim names a key, and the request proved possession of another one.",
        "Make the proof with the key for which the platform issued the assertion. jkt is the thumbprint of its public key (RFC 7638), x5t#S256 that of its certificate (RFC 8705 section 3.1).";
    ConfirmationUnsupported = "confirmation_unsupported" Assertion Anyone: "the assertion is bound in a way that is not understood here",
        "The assertion's cnf claim (RFC 7800) has another member than jkt or x5t#S256, or both of them.",
        "Ask the platform for a token that is bound by jkt (RFC 9449) or x5t#S256 (RFC 8705).";
    Replay = "replay" Assertion Anyone: "the assertion was used before",
        "A token was already issued for this assertion. Each assertion is good for one token, whichever endpoint took it.",
        "Request a new token from the platform for each exchange. used_at and used_in tell the first use. If the job did not use the assertion itself, another caller did: look into the audit log.";

    GrantNotTaken = "grant_not_taken" Assertion Anyone: "the assertion's issuer is not set up for this grant",
        "The trusted issuer lists the grants that take its assertions, and this one is not among them.",
        "Use the other grant, or add this one to the trusted issuer's grants.";

    // === the subject and the actor of an exchange ===
    SubjectTokenInvalid = "subject_token_invalid" Assertion Anyone: "the subject token is not an access token of this server",
        "The type access_token is for access tokens that this server issued for a registry. The token is another server's, damaged, or for this server's own API.",
        "Send the access token unchanged. A platform's token has the type urn:ietf:params:oauth:token-type:jwt.";
    SubjectTokenInactive = "subject_token_inactive" Assertion Anyone: "the subject token is not in force any more",
        "The access token has expired or was revoked, or none of the rules it rests on is what it was.",
        "Get a new access token for the assertion.";
    TokenOfAnotherClient = "token_of_another_client" ForeignToken Anyone: "the token belongs to another client",
        "The token was issued to a registered client, and the request comes from another one or from nobody.",
        "Authenticate as the client that the token was issued to.";
    ProofWouldBeLost = "proof_would_be_lost" Assertion Anyone: "the token is bound to a key, and the request does not prove possession of it",
        "An exchange keeps the binding of the token that it is made from: otherwise whoever copied that token would get one that is worth something.",
        "Send a DPoP proof made with the same key as for the first token, or use the same client certificate.";
    ActorTokenInvalid = "actor_token_invalid" Assertion Anyone: "the actor token cannot be used",
        "The actor token is no valid access token of this server, not in force, or itself a delegated one.",
        "Send the platform's token of the acting workload, with the type urn:ietf:params:oauth:token-type:jwt.";
    ActorNotAllowed = "actor_not_allowed" Assertion Anyone: "the actor may not act for the subject",
        "None of the rules that admit the subject names a rule of the actor among its actors, or the subject token's may_act names somebody else.",
        "Add the rule of the acting workload to the actors of the subject's rule.";
    ChainTooLong = "chain_too_long" Assertion Anyone: "the token was exchanged or delegated too often",
        "A token may name four actors, one inside the other, and be sixteen exchanges away from the first one.",
        "Start again with the subject's assertion.";

    // === the rule ===
    NoMatchingCredential = "no_matching_credential" Assertion Anyone: "no federated credential matches the assertion",
        "The assertion is valid, and no rule admits it. Why is shown only to a caller whose assertion proves that a rule is meant for it: by the immutable ids of that rule, or by the names of a pending one.",
        "Compare the rule with the claims of the job: repository or project, file, environment, ref, in this order. carnet explain shows them side by side to whoever manages the rule. Audit events show the cause to the operator, to the principal that the request names, and to the principals whose vouched rules came closest.";
    RepoMismatch = "repo_mismatch" Assertion Proved: "the assertion is from another repository or project",
        "The repository or project of the rule is not that of the assertion.",
        "Correct the rule's repository, or run the job in that repository.";
    Renamed = "renamed" Assertion Proved: "the repository or project was renamed",
        "The immutable ids are those of the rule, and the name is another one: the repository was renamed.",
        "Put the new name into the rule.";
    OwnerIdMismatch = "owner_id_mismatch" Assertion Proved: "the owner is not the one the rule was made for",
        "The owner's immutable id differs from the pinned or given one. The name was taken over by another account, or the repository was transferred.",
        "If the change is intended, make a new rule: a rule does not follow to another owner.";
    RepoIdMismatch = "repo_id_mismatch" Assertion Proved: "the repository or project is not the one the rule was made for",
        "The immutable id of the repository differs from the pinned or given one: it was deleted and made again under the same name.",
        "If the change is intended, make a new rule.";
    WorkflowMismatch = "workflow_mismatch" Assertion Proved: "the assertion is from another workflow file",
        "The file or definition of the run is not the rule's, in this repository at the run's own ref.",
        "Correct the file in the rule; letter case and the ending of the name count.";
    CalledWorkflowMismatch = "called_workflow_mismatch" Assertion Proved: "the job is defined by a workflow that the rule does not allow",
        "The job comes from a reusable workflow. Unless the rule says otherwise, only workflows of the same repository may define it.",
        "Name the called workflow in called_workflow, with path and ref or sha, or allow every one with \"any\".";
    EnvMismatch = "env_mismatch" Assertion Proved: "the job runs in another environment",
        "The environment of the job is not that of the rule.",
        "Correct the rule's environment, or the environment of the job.";
    EnvMissing = "env_missing" Assertion Proved: "the job names no environment",
        "The rule wants an environment, and the job has none. Without one the platform sends no environment claim.",
        "Give the job an environment.";
    EnvUnprotected = "env_unprotected" Assertion Proved: "the environment of the job is not protected",
        "The rule wants a protected environment, and the platform says that this one is not: whoever may run jobs can name it.",
        "Protect the environment at the platform.";
    RefMismatch = "ref_mismatch" Assertion Proved: "the run is for another branch or tag",
        "The ref of the run is not one that the rule allows. Refs are compared whole, as refs/heads/… or refs/tags/…; * stops at a slash.",
        "Run the job on the right branch or tag, or correct the rule.";
    RefUnprotected = "ref_unprotected" Assertion Proved: "the run is not for a protected branch or tag",
        "The rule or the registry wants a protected ref, and the platform says that this one is not protected.",
        "Protect the branch or tag at the platform, or use an environment in the rule.";
    EventDenied = "event_denied" Assertion Proved: "the run was started by an event that is not allowed",
        "The event is banned for the trusted issuer, because outsiders can cause it to run with their input, or it is not among the rule's events.",
        "Start the run by an event that is allowed, or name the event in the rule's events if it is not banned.";
    RunnerDenied = "runner_denied" Assertion Proved: "the job ran on a kind of runner that the rule does not allow",
        "runner_environment is not that of the rule.",
        "Run the job on that kind of runner, or correct the rule.";
    VisibilityMismatch = "visibility_mismatch" Assertion Proved: "the repository's visibility is not the rule's",
        "The rule wants a public, private or internal repository, and this one is another.",
        "Correct repository_visibility in the rule.";
    ActorMismatch = "actor_mismatch" Assertion Proved: "the run was started by another account",
        "The account that started the run is not that of the rule.",
        "Let the right account start the run, or correct actor_id in the rule.";
    SubMismatch = "sub_mismatch" Assertion Proved: "the assertion has another subject",
        "The whole subject is compared, and platforms change its form.",
        "Compare names or ids of the repository and the environment instead of the subject.";
    IdMismatch = "id_mismatch" Assertion Proved: "the assertion is for another identity",
        "The identity that the rule names, such as a SPIFFE id, a service account, its uid or an object id, is not that of the assertion. It is compared whole.",
        "Correct the rule, or let the right workload make the request.";
    TrustDomainMismatch = "trust_domain_mismatch" Assertion Anyone: "the assertion is for another trust domain",
        "The trust domain of the SPIFFE id is not that of the trusted issuer. A trust domain below another one is a domain of its own.",
        "Register a trusted issuer for each trust domain, with its own bundle.";
    SubjectDomainMismatch = "subject_domain_mismatch" Assertion Anyone: "the subject lies outside the issuer's domain",
        "Scheme, host and port of the subject are not exactly the trusted issuer's subject_domain.",
        "Compare subject_domain with the subjects that the issuer writes.";
    EmailUnverified = "email_unverified" Assertion Anyone: "the e-mail address is not verified",
        "The issuer does not say that the address belongs to whoever the assertion is for.",
        "Let the issuer verify the address. accept_string_booleans takes the word true as well, skip_email_verification excuses an issuer that says nothing.";
    EmailMismatch = "email_mismatch" Assertion Proved: "the assertion is for another e-mail address",
        "The address, or its domain, is not that of the rule. Only the domain is compared without letter case, and a domain does not include those below it.",
        "Correct the rule.";
    AsnMismatch = "asn_mismatch" Assertion Proved: "another AS number stands behind the issuer's keys",
        "The rule is for an AS number that the RPKI does not attest to the keys of the issuer, or that the assertion leaves out of its claim asn.",
        "Compare the rule's asn with the resources of the attestation.";
    PrefixMismatch = "prefix_mismatch" Assertion Proved: "other addresses stand behind the issuer's keys",
        "The rule is for a prefix that the RPKI does not attest as a whole to the keys of the issuer.",
        "Compare the rule's prefix with the resources of the attestation.";
    UpstreamMismatch = "upstream_mismatch" Assertion Proved: "another provider vouches for the identity",
        "The trusted issuer is a broker, and the provider behind it is not the one the rule names: the same address can be somebody else's there.",
        "Sign in with the provider that the rule names, or correct upstream.";
    PrincipalType = "principal_type" Assertion Anyone: "the assertion is not for a workload",
        "The platform says that the token is for a person or another kind of principal.",
        "Let the workload use its own identity.";
    CredentialStrength = "credential_strength" Assertion Anyone: "the workload proved itself too weakly",
        "The platform says that the workload used a shared secret, and a certificate or a federated credential is wanted.",
        "Use a managed identity, a certificate or a federated credential.";
    SourceMismatch = "source_mismatch" Assertion Proved: "the run is for another source",
        "The origin or the ref of the source is not that of the rule: another repository, a fork, or another branch.",
        "Run the job on the right source, or correct the rule.";
    ContextMismatch = "context_mismatch" Assertion Proved: "the job has none of the contexts that the rule names",
        "None of the elements of the list claim is one that the rule names.",
        "Give the job the context, or correct the rule.";
    PhaseMismatch = "phase_mismatch" Assertion Proved: "the run is in another phase",
        "The phase of the run is not the rule's: a plan can be started by everybody who may propose a change.",
        "Exchange the token in the phase that the rule names.";
    IdentityMismatch = "identity_mismatch" Assertion Proved: "the assertion makes another identity",
        "What the profile's template makes of the claims is not the identity of the rule.",
        "Correct the rule. The explanation shows what the template made.";
    ClaimMismatch = "claim_mismatch" Assertion Proved: "a claim has another value than the rule asks for",
        "A field of the rule, or an entry of its claims, does not equal the claim of the assertion.",
        "Correct the rule.";
    CredentialDisabled = "credential_disabled" Assertion Proved: "the federated credential is disabled",
        "The rule matches and is switched off.",
        "Enable it again: enabled = true.";
    CredentialExpired = "credential_expired" Assertion Proved: "the federated credential has expired",
        "Its expires_at lies in the past, or it was pending for 7 days without a first use.",
        "Save it again: a pending rule gets 7 new days, an ended one a new expires_at.";
    PrincipalDisabled = "principal_disabled" Assertion Proved: "the principal is disabled",
        "The principal that the rule acts for is switched off.",
        "Ask the registry's operator.";
    IssuerScope = "issuer_scope" Assertion Proved: "the trusted issuer belongs to another principal",
        "The trusted issuer has an owner, and only that principal's rules may use it.",
        "Use a trusted issuer without owner, or make the rule for its owner.";
    PolicyInvalid = "policy_invalid" Assertion Proved: "the rule cannot be used",
        "Saving would refuse the rule: it is incomplete, contradicts itself, or would let strangers in.",
        "Read the errors: carnet policy lint prints them.";

    // === what may be asked for ===
    TargetUnknown = "target_unknown" Target Anyone: "the resource is not known here",
        "resource names no enabled resource server, neither by URI nor by alias.",
        "Use the registry's resource URI exactly: https://registry.example/ and https://registry.example are two. nearest is what was probably meant.";
    TargetAmbiguous = "target_ambiguous" Target Anyone: "several registries could be meant",
        "The request names several resource servers, or it names none and several are permitted: by the rules that match, or by the client's own permissions. permitted lists them.",
        "Name one with resource.";
    ProofTooWeak = "proof_too_weak" Target Anyone: "the registry or the permission asks for a stronger proof of the workload",
        "min_proof of the resource server or of the permission is key: the workload has to prove that it has the key to which its platform bound the assertion. A DPoP proof alone binds the token and proves nothing about the assertion, which anybody could have copied.",
        "Let the platform issue assertions that are bound to a key, or lower min_proof.";
    SenderConstraintRequired = "sender_constraint_required" Assertion Anyone: "the registry or the permission wants tokens that are bound to a key",
        "require_sender_constraint is set for the resource server or the permission, and the request brought no proof of a key that the token could be bound to.",
        "Send a DPoP proof with the request (RFC 9449): carnet exchange --dpop-key FILE does. Where the server takes client certificates, one of those will do (RFC 8705).";
    TargetNotGranted = "target_not_granted" Target Anyone: "no permission covers this resource",
        "A token is for a resource server at which the rules that match, or a client's own permissions, permit something. The one that the request names is not among them, or nothing is permitted anywhere.",
        "Name a resource that permitted lists, or add a permission for this resource server: to the rule, or for the own token of a client without rules to the client's permissions. A client that has scopes only asks for the admin API: resource is the issuer identifier and /admin.";
    PrincipalRequired = "principal_required" Request Anyone: "the request has to name the principal",
        "Rules of several principals match, or the rule is a self-service one, which counts only for whoever asks for its principal, or the resource server is set to require_principal.",
        "Add principal with the name of the account that owns the rule: principal=NAME in the request, --principal NAME of carnet exchange.";
    PrincipalMismatch = "principal_mismatch" Assertion Proved: "the rule that matches acts for another principal",
        "The request names a principal, and the rules that are meant for this workload are none of that principal's.",
        "Correct principal in the request: it names the account that the rule belongs to, which may be another than the organization's. Without it, rules that are vouched for still count.";
    ScopeNotGranted = "scope_not_granted" Scope Anyone: "the scope asks for more than the matching rules permit",
        "A scope token is not among the actions of the matching rules. received has the tokens beyond them, permitted all that would be granted. Nothing is left out silently.",
        "Ask for less, or add the action to the rule.";
    RulesTooLarge = "rules_too_large" Assertion Anyone: "the rules that match are too large to be judged together",
        "All rules of the principal for this workload, or all their patterns held against all packages that are asked for, are more than one request may cost.",
        "Write fewer and narrower rules, or ask for fewer packages at a time.";
    TooManyEntries = "too_many_entries" Details Anyone: "the token cannot hold all that is asked for",
        "A JWT may be 7,500 bytes long, since proxies refuse longer headers; an opaque key holds 1,000 entries and 64 KiB. packages_that_fit says how many of the packages fit.",
        "Ask for fewer packages at a time, use a pattern in the rule and leave authorization_details out, or let the registry take opaque keys.";
    PackageOutOfScope = "package_out_of_scope" Details Anyone: "the request is for packages that no rule covers",
        "All packages of an entry of authorization_details, or the package that a tool asks a key for, have to be covered by one permission of one matching rule. received has the packages that no permission covers, permitted the patterns of the rules.",
        "Ask for the right packages, or add them to the rule.";
    ActionOutOfScope = "action_out_of_scope" Details Anyone: "the authorization details ask for actions that the rule does not permit",
        "The packages are covered, and not for all of these actions. permitted has the actions of the permissions that cover them.",
        "Ask for less, or add the action to the rule.";
    OwnerOutOfScope = "owner_out_of_scope" Details Anyone: "the authorization details name another owner, place or version than the rule",
        "owner, locations or version of the request contradict the permission that covers the package. A rule with ref_template is good for the version in the ref only.",
        "Leave owner and locations out, and take the version from the tag.";

    // === what the registry decides ===
    CreateDenied = "create_denied" Details Anyone: "the package does not exist, and the token may not create it",
        "Creating a package needs the action create in the same permission.",
        "Add create to the rule's actions, or create the package first. A self-service rule creates packages only for a request that names its principal: publish the first version with the token of carnet exchange --principal NAME as the tool's password.";
    CreateNeedsPrincipal = "create_needs_principal" Details Anyone: "the rule creates packages only for requests that name its principal",
        "The rule that matches is a self-service one, and permits nothing but create. This registry's own tools cannot name a principal, and without that name such a rule is good for existing packages only: else anybody could attach a rule to this workload and own what it publishes first.",
        "Publish the first version with a token that names the principal: carnet exchange --principal NAME, and the token as the tool's password. Or let an administrator vouch for the rule.";
    VersionMismatch = "version_mismatch" Details Anyone: "the token is for another version",
        "The token was narrowed to one version, by the request or by the tag.",
        "Publish the version that the token names.";
    DigestMismatch = "digest_mismatch" Details Anyone: "the token is for another artifact",
        "The token was narrowed to one artifact by its digest.",
        "Publish the artifact whose digest was named in the request.";
    OwnerLost = "owner_lost" Details Anyone: "the rule's owner does not own the package",
        "The owner named in the rule does not own the package (any more), or the principal may not act for that owner.",
        "Ask an owner of the package.";
    OwnerAmbiguous = "owner_ambiguous" Details Anyone: "rules of several principals allow creating this package",
        "Nobody can tell whose the new package should be.",
        "Name one account with principal in the token request.";

    // === sessions of people ===
    NoMembership = "no_membership" SignIn Anyone: "no membership lets the person in",
        "The identity provider confirmed who the person is, and no enabled membership of this server fits the claims that came. The page shows them.",
        "Send the claims to the operator, who makes a membership that names some of them, such as groups or sub.";
    PersonDisabled = "person_disabled" SignIn Anyone: "the person is disabled",
        "An administrator decided that the person may not sign in here any more.",
        "Ask the operator of this server: carnet people enable lets the person in again.";
    CsrfInvalid = "csrf_invalid" SignIn Anyone: "the request did not come from a page of this session",
        "A form holds a token that belongs to the session of the browser, and browsers say which site a form was sent from. The token is missing or belongs to another session, or the form was sent from another site. That may be an attack, or a page that was opened before a sign-in in another tab. Nothing was changed.",
        "Open the page again and repeat what you did. If it stays, let the browser keep cookies of this site, and let a proxy pass on Host and Origin unchanged.";

    // === people who sign in ===
    SignInExpired = "sign_in_expired" Request Anyone: "the sign-in is unknown in this browser, or it took longer than 10 minutes",
        "A sign-in is finished in the browser that began it, within 10 minutes. The answer of the provider belongs to no sign-in of this browser: it is too old, the sign-in was finished before and its cookie cleared, or the answer came from another browser; or the browser keeps no cookies of this site. The answer to a step-up belongs to the session that asked for it, and that session has ended or was replaced.",
        "Sign in again. Let the browser keep cookies of this site, and do not send links of the provider's answer to others.";
    ProviderChanged = "provider_changed" SignIn Anyone: "the identity provider was changed or disabled during the sign-in",
        "An operator saved the identity provider while the person was there. Whoever signs in is judged by one version of it from beginning to end, so nobody is let in by a rule that was just replaced.",
        "Sign in again.";
    ProviderMixedUp = "provider_mixed_up" Request Anyone: "the answer came from another identity provider than the one that was asked",
        "Each identity provider has a redirect URI of its own, and its answer may name it (RFC 9207). The sign-in was begun at another provider, or the answer names another issuer, or none although the provider's metadata promises it. This is what an attack by one provider on another looks like.",
        "Sign in again. If it stays, the operator compares the redirect URI that is registered at the provider with redirect_uri of the identity provider.";
    SignInDenied = "sign_in_denied" SignIn Anyone: "the identity provider did not sign the person in",
        "The provider answered with an error, such as access_denied after a press of cancel, or because the person may not use this application there; or it answered with neither a code nor an error. detail in the log has the provider's error code.",
        "Sign in again and agree. If the provider refuses, ask those who run it to assign the person to this application.";
    ProviderUnavailable = "provider_unavailable" Unavailable Anyone: "the identity provider cannot be reached or used at the moment",
        "The provider's metadata, its keys or one of its endpoints could not be read: it did not answer within 5 seconds, answered with an error of its own, or publishes something that cannot be used. Sessions that exist go on.",
        "Try again in a minute. The operator finds the cause in detail in the log.";
    CodeExchangeFailed = "code_exchange_failed" SignIn Anyone: "the identity provider gave no tokens for its own code",
        "The token endpoint of the provider refused the code or this server's client authentication, or its answer cannot be used: a redirect, not JSON, larger than 256 KiB, or without a bearer token. detail in the log says which.",
        "Sign in again. If it stays, the operator compares client_id, client_secret and auth_method of the identity provider with the registration at the provider; invalid_client in detail means that they differ.";
    IdTokenInvalid = "id_token_invalid" SignIn Anyone: "the ID token of the identity provider is not valid for this sign-in",
        "An ID token has to be signed by a key that the provider publishes, with an algorithm of the identity provider; to name its exact issuer and our client id as the one audience; to be issued within the last 10 minutes, not expired, and bound to this sign-in by nonce (OpenID Connect Core section 3.1.3.7). detail in the log names the claim or header parameter that is wrong.",
        "Sign in again. If it stays, the operator compares issuer, client_id and algorithms of the identity provider with the registration at the provider, and the clocks of both.";
    UserinfoInvalid = "userinfo_invalid" SignIn Anyone: "the userinfo of the identity provider cannot be used for this person",
        "claims_from of the identity provider is userinfo, and the userinfo endpoint is missing, refused the access token, answered something else than JSON claims, or answered about another person than the ID token (OpenID Connect Core section 5.3.2).",
        "Set claims_from to id_token if the provider puts the claims there, or let the provider answer at its userinfo endpoint.";
    SecondFactorMissing = "second_factor_missing" SignIn Anyone: "the identity provider did not prove a second factor",
        "second_factor of the identity provider names values of acr or amr of which the ID token has to have one, and it has none of them. detail in the log has what came.",
        "Sign in with a second factor. If the provider asked for one, the operator compares second_factor with the values that the provider sends.";
    AuthTimeMissing = "auth_time_missing" SignIn Anyone: "the identity provider does not say when the person signed in",
        "A change needs proof that the person signed in a short time ago, and only the claim auth_time of the ID token proves it. The provider sends none, although it was asked to.",
        "Let the provider send auth_time. For a provider that cannot and is known to ask again for prompt=login, an operator may set freshness to new_sign_in.";
    AuthTooOld = "auth_too_old" SignIn Anyone: "the person did not sign in again at the identity provider",
        "The person was asked to sign in again, and auth_time of the ID token is from before: the provider answered from its own session, although max_age=0 and prompt=login were sent. Or a token on behalf of a person should change something at the admin API, and its auth_time is older than people.step_up_seconds, or than 300 seconds if it is for admin or admin:credentials.",
        "For a token, get another one: carnet login. Otherwise sign out at the provider and sign in again. If it stays, the provider does not honour max_age and prompt=login; ask those who run it.";
    OtherPerson = "other_person" SignIn Anyone: "somebody else signed in than the person of the session",
        "The person was asked to prove that they are still there, and the provider answered for another account.",
        "Sign in with the account of the session, or sign out first and begin a session with the other account.";
    GroupsIncomplete = "groups_incomplete" SignIn Anyone: "the identity provider left out groups of the person",
        "The provider cut off the list of groups because it is too long for a token, or sends a reference in its place, or the list has more than 200 elements. A list that is read short could miss the very group that a membership asks for, so it is not read at all.",
        "Let the provider send only the groups that are assigned to this application. In Microsoft Entra ID that is the option \"groups assigned to the application\".";
    ClaimsTooLarge = "claims_too_large" SignIn Anyone: "the claims of the person are too large",
        "The claims that rules can read are kept with the session, and may have 16 KiB.",
        "Let the provider send fewer claims, or fewer and shorter groups.";

    // === software that acts for people ===
    ClientUnknown = "client_unknown" Request Anyone: "no client of this name asks people here",
        "client_id of the authorization request names no registered client, one that is disabled, or one without redirect URIs. The browser is not sent back, since nobody vouches for where that would be.",
        "Compare client_id with the client that the operator registered, and let the operator add authorization_code to its grant_types.";
    RequestTooLong = "request_too_long" Request Anyone: "the authorization request is too long",
        "The query of an authorization request may have 2048 bytes, and 950 while nobody is signed in, since it is kept in a cookie until the person comes back.",
        "Name fewer packages in authorization_details, and keep state and nonce short.";
    RedirectUriUnregistered = "redirect_uri_unregistered" Request Anyone: "the redirect URI is not one of the client",
        "redirect_uri has to be one of the client's redirect_uris, byte for byte; only the port of http://127.0.0.1 and http://[::1] is free (RFC 8252 section 7.3). It may be left out where the client has a single one. The browser is not sent to any other place.",
        "Compare redirect_uri with the registration: scheme, letter case, path and a slash at the end count. Write 127.0.0.1 and not localhost.";
    ResponseTypeUnsupported = "response_type_unsupported" ResponseType Anyone: "the response type is not supported",
        "The authorization endpoint gives codes alone: response_type is code, and response_mode, if it is given, query.",
        "Use the authorization code flow with PKCE.";
    PkceRequired = "pkce_required" Request Anyone: "the authorization request needs a code challenge with the method S256",
        "Every client proves at the token endpoint that it began the flow (RFC 7636): code_challenge is the base64url of a SHA-256, 43 characters, and code_challenge_method is S256. The method plain, which is also meant where no method is given, protects nothing.",
        "Let the library use PKCE with S256. Every maintained one can.";
    RequestObjectUnsupported = "request_object_unsupported" RequestObject Anyone: "request objects are not supported",
        "The authorization request has the parameter request (RFC 9101). This server reads plain parameters alone.",
        "Send the parameters themselves.";
    RequestUriUnsupported = "request_uri_unsupported" RequestUri Anyone: "references to authorization requests are not supported",
        "The authorization request has the parameter request_uri (RFC 9101, RFC 9126). This server fetches and keeps none.",
        "Send the parameters themselves.";
    LoginRequired = "login_required" LoginRequired Anyone: "the person has to sign in",
        "The client asked with prompt=none, and nobody is signed in in this browser, or the sign-in is older than max_age. Or max_age was asked for and the identity provider does not say when the person signed in, so it cannot be kept.",
        "Repeat the request without prompt=none, or without max_age.";
    ConsentRequired = "consent_required" ConsentRequired Anyone: "the person has to agree",
        "The client asked with prompt=none for something to which the person has not agreed in this session. Native clients and rights at the admin API are asked for each time.",
        "Repeat the request without prompt=none.";
    InteractionRequired = "interaction_required" InteractionRequired Anyone: "the person has to choose or to prove who they are",
        "The client asked with prompt=none for a token for which the person has to choose a principal, or to prove again who they are, which rights that change something at the admin API need.",
        "Repeat the request without prompt=none, or name the principal.";
    PersonDeclined = "person_declined" SignIn Anyone: "the person did not agree",
        "The person pressed cancel on the page that shows what the client asks for.",
        "Ask again when the person wants it.";
    NotForThisPerson = "not_for_this_person" SignIn Anyone: "the person may not do this, or there is no such registry or principal",
        "The person who signed in has no role at the principal that the request names, none that lets software do what it asks for at this registry, or the registry does not exist. Which of these it is, is not said: a client could find out names by asking.",
        "Let an operator compare the person's memberships, the registry's people member, and the client's permissions.";
    CodeInvalid = "code_invalid" Assertion Anyone: "the authorization code is unknown or was issued to another client",
        "code has to be the value that this server put into the redirect, presented by the client that began the flow. Codes are forgotten some minutes after they expired.",
        "Begin the flow again. Check that the code reaches the token endpoint unchanged, percent-decoded once.";
    CodeExpired = "code_expired" Assertion Anyone: "the authorization code has expired",
        "A code is good for 60 seconds (RFC 6749 section 4.1.2).",
        "Redeem the code as soon as the browser brings it; begin the flow again.";
    CodeUsed = "code_used" Assertion Anyone: "the authorization code was used before",
        "A code gives one token. It was presented again, so somebody else may have it: the token that it gave is revoked (RFC 6749 section 4.1.2).",
        "Begin the flow again. If nobody repeated the request, look for who reads the redirects.";
    RedirectUriMismatch = "redirect_uri_mismatch" Assertion Anyone: "the redirect URI is not the one of the authorization request",
        "The token request names the redirect URI again, exactly as in the authorization request (RFC 6749 section 4.1.3); where that had none, it may be left out.",
        "Send the same redirect_uri in both requests.";
    PkceFailed = "pkce_failed" Assertion Anyone: "the code verifier does not fit the code challenge",
        "code_verifier has to be the text of 43 to 128 characters whose SHA-256 was the code_challenge of the authorization request (RFC 7636 section 4.6). The code was not used up.",
        "Send the verifier of the same flow: two tabs need one each.";
    SessionOver = "session_over" Assertion Anyone: "the session of the person has ended",
        "The person signed out, somebody ended the session or disabled the person, or its time was over, after the code was issued.",
        "Let the person sign in again.";
    RoleMissing = "role_missing" Assertion Anyone: "the person has no role that permits this any more",
        "Between the page on which the person agreed and the token request a membership ended or was changed, or the registry changed what people may do.",
        "Begin the flow again; the page shows what is possible now.";

    // === the server ===
    Busy = "busy" Unavailable Anyone: "the rules are changing faster than requests can be answered",
        "A rule that matched was changed while the token was being made, several times in a row. The assertion was not used up.",
        "Try again after the time in Retry-After.";
    Overloaded = "overloaded" Unavailable Anyone: "the server could not answer in time",
        "The request was not done by its deadline (server.request_seconds): the server, its database or the platform's keys were too slow. What had not begun by then was given up, so the assertion was not used up unless its record had begun; then a retry says replay.",
        "Try again after the time in Retry-After. The operator finds slow parts in the log and the metrics.";
    DatabaseUnavailable = "database_unavailable" Unavailable Anyone: "the server cannot record the exchange at the moment",
        "The database cannot be reached. Without it single use cannot be guaranteed, so nothing is issued. The assertion was not used up.",
        "Try again after the time in Retry-After. The operator finds the cause in the log.";
    Internal = "internal" Internal Anyone: "the server failed",
        "Something went wrong that should not. The assertion was not used up unless a token was issued.",
        "Report the error_id to the operator, who finds the cause in the log.";
}
