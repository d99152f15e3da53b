//! pypiserver: an index of Python packages that are files in a folder.

use tokio::sync::OnceCell;

use super::{OperatorCredential, Running, Upstream, free_address, new_folder};
use crate::support::Packages;

/// Uploads need the operator's password, reading needs nothing. None where the machine lacks it and that is allowed.
pub async fn pypiserver() -> Option<&'static Upstream> {
    static SHARED: OnceCell<Option<Upstream>> = OnceCell::const_new();
    SHARED.get_or_init(start).await.as_ref()
}

async fn start() -> Option<Upstream> {
    let tools = Packages::PypiTools.installed()?;
    let folder = new_folder("pypiserver");
    let credential = OperatorCredential::new_password();
    credential.write_htpasswd(&folder.join("htpasswd"));
    std::fs::create_dir(folder.join("packages")).unwrap();
    let address = free_address();
    let (host, port) = address.split_once(':').unwrap();
    let arguments = [
        &["run", "--interface", host, "--port", port][..],
        &["--passwords", "htpasswd", "--authenticate", "update"],
        // It sends requests for packages that it does not have to PyPI otherwise.
        &["--disable-fallback", "packages"],
    ];
    let running = Running::start(&tools.join("bin/pypi-server"), &arguments.concat(), folder);
    let url = format!("http://{address}");
    running.answers(&format!("{url}/simple/")).await;
    Some(Upstream::running(url, credential, running))
}
