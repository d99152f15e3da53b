//! Options that `carnet exchange` and `carnet explain` share: where the platform's token comes from,
//! and what is asked of the server.
//!
//! An option with an empty value counts as left out, because CI templates pass on variables that may
//! be empty.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use carnet_engine::grant_type::GrantType;
use clap::builder::{
    EnumValueParser, PathBufValueParser, PossibleValue, StringValueParser, TypedValueParser,
};
use clap::{Arg, Args, Command, ValueEnum};
use serde_json::Value;

use crate::ambient::{Choice, DEFAULT_FILE, Source};
use crate::error::ExchangeError;

/// Where the platform's token comes from.
#[derive(Clone, Debug, Args)]
pub struct SourceArgs {
    /// Platform that the token comes from; detected unless given.
    #[arg(long, value_name = "NAME", value_parser = OrEmpty(EnumValueParser::<Source>::new()))]
    source: Option<Given<Source>>,
    /// File with the platform's token; `-` reads standard input.
    #[arg(long, value_name = "FILE", value_parser = OrEmpty(PathBufValueParser::new()))]
    assertion_file: Option<Given<PathBuf>>,
    /// Environment variable with the platform's token.
    #[arg(long, value_name = "VARIABLE", value_parser = OrEmpty(StringValueParser::new()))]
    assertion_env: Option<Given<String>>,
    /// Audience to request from the platform, which its token has to have; the server's issuer
    /// identifier unless given.
    #[arg(long, value_parser = OrEmpty(StringValueParser::new()))]
    audience: Option<Given<String>>,
    /// File of the projected service-account token in a Kubernetes pod.
    #[arg(long, value_name = "FILE", default_value = DEFAULT_FILE,
          value_parser = OrEmpty(PathBufValueParser::new()))]
    kubernetes_token_file: Given<PathBuf>,
}

impl SourceArgs {
    /// The one place that the options name. Naming several is wrong usage.
    pub(crate) fn choice(&self) -> Result<Choice<'_>, ExchangeError> {
        let (file, variable) = (
            given(self.assertion_file.as_ref()),
            given(self.assertion_env.as_ref()),
        );
        match (file, variable, given(self.source.as_ref())) {
            (None, None, None) => Ok(Choice::Ambient),
            (Some(path), None, None) => Ok(Choice::File(path)),
            (None, Some(name), None) => Ok(Choice::Variable(name)),
            (None, None, Some(source)) => Ok(Choice::Source(*source)),
            _ => Err(ExchangeError::usage(
                "at most one of --source, --assertion-file and --assertion-env can be given",
            )),
        }
    }

    /// The audience of `--audience`.
    pub(crate) fn audience(&self) -> Option<&str> {
        given(self.audience.as_ref()).map(String::as_str)
    }

    pub(crate) fn kubernetes_token_file(&self) -> &Path {
        let path = self.kubernetes_token_file.0.as_deref();
        path.unwrap_or(Path::new(DEFAULT_FILE))
    }
}

/// What is asked of the server, except for the registry.
#[derive(Clone, Debug, Args)]
pub struct RequestArgs {
    /// Scope of the access token, actions separated by spaces; without it, all that the rules
    /// permit.
    #[arg(long, value_parser = OrEmpty(StringValueParser::new()))]
    scope: Option<Given<String>>,
    /// Name of the principal whose rules are meant; self-service rules count only if it is given.
    #[arg(long, value_name = "NAME", value_parser = OrEmpty(StringValueParser::new()))]
    principal: Option<Given<String>>,
    /// Packages, actions and versions to limit the access token to, as a JSON array (RFC 9396).
    #[arg(long, value_name = "JSON", value_parser = OrEmpty(details))]
    authorization_details: Option<Given<String>>,
    /// Grant type of the token request.
    #[arg(long, visible_alias = "grant-type", default_value = "jwt-bearer",
          value_parser = OrEmpty(EnumValueParser::<AssertionGrant>::new()))]
    grant: Given<AssertionGrant>,
}

impl RequestArgs {
    pub fn scope(&self) -> Option<&str> {
        given(self.scope.as_ref()).map(String::as_str)
    }

    /// The name of the principal whose rules are meant.
    pub fn principal(&self) -> Option<&str> {
        given(self.principal.as_ref()).map(String::as_str)
    }

    /// A JSON array of entries (RFC 9396).
    pub fn authorization_details(&self) -> Option<&str> {
        given(self.authorization_details.as_ref()).map(String::as_str)
    }

    pub fn grant(&self) -> GrantType {
        match self.grant.0 {
            Some(AssertionGrant::TokenExchange) => GrantType::TokenExchange,
            Some(AssertionGrant::JwtBearer) | None => GrantType::JwtBearer,
        }
    }
}

/// The grant types that take a platform's token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum AssertionGrant {
    /// The JWT bearer grant (RFC 7523).
    JwtBearer,
    /// The token exchange grant (RFC 8693).
    TokenExchange,
}

fn details(text: &str) -> Result<String, String> {
    match serde_json::from_str(text) {
        Ok(Value::Array(_)) => Ok(text.to_owned()),
        Ok(_) => Err("it must be a JSON array".to_owned()),
        Err(error) => Err(format!("it must be a JSON array: {error}")),
    }
}

/// The value of an option, or nothing if the value is empty.
#[derive(Clone, Debug)]
pub(crate) struct Given<T>(Option<T>);

pub(crate) fn given<T>(option: Option<&Given<T>>) -> Option<&T> {
    option.and_then(|given| given.0.as_ref())
}

/// Parses a value like the parser inside, except that an empty value is none.
#[derive(Clone)]
pub(crate) struct OrEmpty<P>(pub(crate) P);

impl<P> TypedValueParser for OrEmpty<P>
where
    P: TypedValueParser,
{
    type Value = Given<P::Value>;

    fn parse_ref(
        &self,
        command: &Command,
        argument: Option<&Arg>,
        value: &OsStr,
    ) -> Result<Self::Value, clap::Error> {
        if value.is_empty() {
            return Ok(Given(None));
        }
        let parsed = self.0.parse_ref(command, argument, value)?;
        Ok(Given(Some(parsed)))
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        self.0.possible_values()
    }
}
