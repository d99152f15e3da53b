//! Verdaccio: a registry of npm packages.

use tokio::sync::OnceCell;

use super::{OperatorCredential, Running, Upstream, free_address, new_folder};
use crate::support::{Packages, node_and_pnpm};

/// Nobody can add a user; everybody can read; there is no registry behind it.
const CONFIGURATION: &str = "\
storage: ./storage
auth:
  htpasswd:
    file: ./htpasswd
    max_users: -1
uplinks: {}
packages:
  '**':
    access: $all
    publish: operator
    unpublish: operator
web:
  enable: false
log: { type: stdout, format: pretty, level: http }
";

/// Changes need the operator's password, reading needs nothing. None where the machine lacks it and that is allowed.
pub async fn verdaccio() -> Option<&'static Upstream> {
    static SHARED: OnceCell<Option<Upstream>> = OnceCell::const_new();
    SHARED.get_or_init(start).await.as_ref()
}

async fn start() -> Option<Upstream> {
    let tools = Packages::NpmTools.installed()?;
    let (modules, node) = (tools.join("node_modules"), node_and_pnpm(tools).0);
    let folder = new_folder("verdaccio");
    let credential = OperatorCredential::new_password();
    credential.write_htpasswd(&folder.join("htpasswd"));
    std::fs::write(folder.join("config.yaml"), CONFIGURATION).unwrap();
    let address = free_address();
    let script = modules.join("verdaccio/bin/verdaccio");
    let script = script.to_str().unwrap();
    let arguments = [script, "--config", "config.yaml", "--listen", &address];
    let running = Running::start(&node.join("node"), &arguments, folder);
    let url = format!("http://{address}");
    running.answers(&format!("{url}/-/ping")).await;
    Some(Upstream::running(url, credential, running))
}
