//! Paths of the pages. Names of objects consist of characters that need no escape in a path
//! ([`check_name`](crate::ids::check_name)).

use crate::config::OwnUrls;

/// The paths below the issuer's.
#[derive(Clone, Debug)]
pub struct Links {
    home: String,
}

impl Links {
    pub fn new(own: &OwnUrls) -> Self {
        Self {
            home: format!("{}/console", own.path()),
        }
    }

    /// The first page.
    pub fn home(&self) -> &str {
        &self.home
    }

    /// The page of a principal.
    pub fn principal(&self, principal: &str) -> String {
        format!("{}/principals/{principal}", self.home)
    }

    /// The form for a new rule.
    pub fn new_rule(&self, principal: &str) -> String {
        format!("{}/add-rule", self.principal(principal))
    }

    /// The page of a rule, by name or id.
    pub fn rule(&self, principal: &str, rule: &str) -> String {
        format!("{}/rules/{rule}", self.principal(principal))
    }

    /// The form in which a rule is changed.
    pub fn edit(&self, principal: &str, rule: &str) -> String {
        format!("{}/edit", self.rule(principal, rule))
    }

    /// Where a claim set or a token is tried.
    pub fn test(&self, principal: &str) -> String {
        format!("{}/test", self.principal(principal))
    }

    /// The runs that concern a principal.
    pub fn runs(&self, principal: &str) -> String {
        format!("{}/runs", self.principal(principal))
    }

    /// One run, by the id of its audit event.
    pub fn run(&self, principal: &str, event: &str) -> String {
        format!("{}/runs/{event}", self.principal(principal))
    }

    /// The pages about the whole server.
    pub fn server(&self) -> String {
        format!("{}/server", self.home)
    }
}
