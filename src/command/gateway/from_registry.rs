//! `carnet gateway owners import --from-registry`.

use std::collections::{BTreeMap, BTreeSet};

use carnet_exchange::web::visible;
use carnet_gateway::{NoAnswer, OwnerLists};
use serde_json::{Value, json};

use super::super::{CommandError, Conclusion};
use super::import::ImportArgs;
use super::owners::{refused, subject, told};
use super::{join, registry};
use crate::gateway::{change_packages, owner_lists, shown_package};
use crate::model::Snapshot;
use crate::store::{PackageChange, Subject};

/// How many names a message has at most.
const MOST_NAMED: usize = 10;

/// Asks the registry who owns the packages, and records it, all or none.
pub(super) async fn run(args: &ImportArgs, as_json: bool) -> Result<Conclusion, CommandError> {
    let (app, _background) = join(&args.config).await?;
    let rules = app.rules();
    let server = registry(&rules, &args.registry)?;
    let subjects = args.from_registry.iter();
    let subjects = subjects
        .map(|package| subject(server, package).map_err(CommandError::Usage))
        .collect::<Result<Vec<_>, _>>()?;
    let lists = owner_lists(&app.config, &server.name);
    let lists = lists.map_err(|error| CommandError::Other(error.to_string()))?;
    let principals = Principals::of(&rules);
    let (mut changes, mut problems) = (Vec::new(), Vec::new());
    for subject in subjects {
        match owner(&lists, &subject, &principals).await? {
            Ok(owner) => changes.push((subject, PackageChange::Own(owner))),
            Err(problem) => problems.push(format!("carnet: {}: {problem}", subject.spelled)),
        }
    }
    if !problems.is_empty() {
        eprintln!("{}", problems.join("\n"));
        eprintln!(
            "carnet: nothing was changed; say whose such a package is: carnet gateway owners set {} PACKAGE OWNER",
            server.name
        );
        return Ok(Conclusion::No);
    }
    let made = match change_packages(&app, &changes).await {
        Ok(made) => made,
        Err((_, error)) => return refused(error, ""),
    };
    let recorded = made.iter().filter(|made| made.is_change()).count();
    let unchanged = made.len().saturating_sub(recorded);
    if as_json {
        let packages = made.iter().filter_map(|made| made.after.as_ref());
        let packages: Vec<Value> = packages.map(shown_package).collect();
        println!(
            "{}",
            json!({ "changed": recorded, "unchanged": unchanged, "packages": packages })
        );
        return Ok(Conclusion::Yes);
    }
    for ((subject, _), made) in changes.iter().zip(&made) {
        println!("{}", visible(&told(made, &subject.spelled)));
    }
    println!("{recorded} packages were recorded, {unchanged} were so already");
    Ok(Conclusion::Yes)
}

/// The principal that the registry says owns a package, or what stands against it.
async fn owner(
    lists: &OwnerLists,
    subject: &Subject,
    principals: &Principals<'_>,
) -> Result<Result<String, String>, CommandError> {
    match lists.of(&subject.spelled).await {
        Ok(Some(logins)) => Ok(principals.only_one(&logins).map(str::to_owned)),
        Ok(None) => Ok(Err("the registry has no list of its owners".to_owned())),
        Err(error @ NoAnswer::NoOwnerLists(_)) => Err(CommandError::Other(format!(
            "{error}; write a file with a line `package,principal` for each package, and import it"
        ))),
        Err(error) => Err(CommandError::Other(format!(
            "{}: {}",
            subject.spelled,
            visible(&error.to_string())
        ))),
    }
}

/// Whom the logins of a registry stand for.
struct Principals<'r> {
    rules: &'r Snapshot,
    /// Names by the registry's own id, which several principals may have.
    by_external_id: BTreeMap<&'r str, BTreeSet<&'r str>>,
}

impl<'r> Principals<'r> {
    fn of(rules: &'r Snapshot) -> Self {
        let mut by_external_id: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for principal in rules.principals() {
            if let Some(id) = &principal.external_id {
                by_external_id
                    .entry(id)
                    .or_default()
                    .insert(&principal.name);
            }
        }
        Self {
            rules,
            by_external_id,
        }
    }

    /// The principals that a login may be, by name and by the registry's own id. A registry may tell
    /// logins apart by case, so that only the name as it is spelled counts.
    fn called(&self, login: &str) -> BTreeSet<&'r str> {
        let named = self.rules.principal(&login.to_ascii_lowercase());
        let named = named.filter(|principal| principal.name == login);
        let mut called = self.by_external_id.get(login).cloned().unwrap_or_default();
        called.extend(named.map(|principal| principal.name.as_str()));
        called
    }

    /// The one principal among the owners of a package.
    fn only_one(&self, logins: &BTreeSet<String>) -> Result<&'r str, String> {
        if logins.is_empty() {
            return Err("the registry names no owner".to_owned());
        }
        let known: BTreeSet<&str> = logins.iter().flat_map(|login| self.called(login)).collect();
        let all = named(logins.iter().map(String::as_str));
        let mut found = known.iter();
        match (found.next(), found.next()) {
            (Some(only), None) => Ok(only),
            (None, _) => Err(format!("no owner at the registry is a principal: {all}")),
            (Some(_), Some(_)) => Err(format!(
                "its owners at the registry are several principals ({}): {all}",
                named(known.iter().copied())
            )),
        }
    }
}

/// Names of other parties, some of them if they are many.
fn named<'a>(names: impl ExactSizeIterator<Item = &'a str>) -> String {
    let more = names.len().saturating_sub(MOST_NAMED);
    let some: Vec<String> = names.take(MOST_NAMED).map(visible).collect();
    let some = some.join(", ");
    if more == 0 {
        some
    } else {
        format!("{some} and {more} more")
    }
}
