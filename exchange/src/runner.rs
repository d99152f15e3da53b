//! Commands to the runner of GitHub Actions, which reads them from both output streams.
//! <https://docs.github.com/actions/reference/workflow-commands-for-github-actions>

use crate::environment::Environment;
use crate::error::ExchangeError;
use crate::web::printable;

/// Whether the command runs in a job of GitHub Actions, or of a forge that imitates it.
fn is_here(environment: &Environment) -> bool {
    environment.is_true("GITHUB_ACTIONS")
}

/// Has the runner mask the access token from its first occurrence, so it has to be called before the
/// token is printed. Standard output has to hold the token alone, hence standard error.
pub fn mask(token: &str, environment: &Environment) {
    if is_here(environment) {
        eprintln!("::add-mask::{token}");
    }
}

/// Has the runner show the failure on the page of the run.
pub fn annotate(error: &ExchangeError, environment: &Environment) {
    if is_here(environment) {
        eprintln!("{}", annotation(&error.title(), error.text()));
    }
}

fn annotation(title: &str, message: &str) -> String {
    format!(
        "::error title={}::{}",
        property(&printable(title)),
        data(message)
    )
}

/// Escapes a message as GitHub's toolkit does, so that it ends no line and begins no command.
fn data(text: &str) -> String {
    text.replace('%', "%25")
        .replace('\r', "%0D")
        .replace('\n', "%0A")
}

/// Escapes a property, which colons and commas would end as well.
fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_annotation_is_one_line_whose_values_end_neither_it_nor_its_title() {
        assert_eq!(
            annotation("No token: a,b\n::c", "100 %\r\n::stop-commands::x"),
            "::error title=No token%3A a%2Cb %3A%3Ac::100 %25%0D%0A::stop-commands::x"
        );
    }
}
