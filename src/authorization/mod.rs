//! The authorization endpoint (RFC 6749 section 3.1): software asks a person who signed in to let it
//! act, and gets a code that it redeems at the token endpoint.
//!
//! oxide-auth's code-grant machines decide what a request and a redemption may be: client and
//! redirect URI (`registrar`), response type, scope and PKCE (`request`, `machine`, `redeem`). What the
//! person may let the client do is judged from memberships, by the functions that the token request
//! is judged by (`question`). A code is a row of the database (`codes`), and every answer that
//! goes back to a client is built in one place (`answer`).

mod answer;
mod codes;
mod machine;
mod question;
mod redeem;
mod registrar;
mod request;
mod sealed;

pub use answer::{Answer, RedirectTo};
pub use codes::issue;
pub use question::{Agreement, Of, Question, Standing, judge};
pub use redeem::{SentCode, redeem};
pub use request::{AuthorizationRequest, Prompt, Rejected, query_after_sign_in};
pub use sealed::ShownPage;
