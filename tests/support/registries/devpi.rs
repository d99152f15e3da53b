//! devpi-server: indexes of Python packages that belong to users.

use std::path::Path;

use reqwest::Client;
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use super::{OperatorCredential, Running, Upstream, free_address, new_folder, program};
use crate::support::{Packages, finished};

/// An index of the operator's that mirrors no other and keeps its files. None where the machine lacks devpi and that is allowed.
pub async fn devpi() -> Option<&'static Upstream> {
    static SHARED: OnceCell<Option<Upstream>> = OnceCell::const_new();
    SHARED.get_or_init(start).await.as_ref()
}

async fn start() -> Option<Upstream> {
    let programs = Packages::PypiTools.installed()?.join("bin");
    let folder = new_folder("devpi");
    let root = OperatorCredential::new_password();
    initialize(&programs, &folder, root.basic().1);
    let address = free_address();
    let (host, port) = address.split_once(':').unwrap();
    let arguments = [
        &["--serverdir", "data", "--host", host, "--port", port][..],
        &["--offline-mode", "--threads", "4"],
        // Deriving its secret takes 5 seconds and half a GiB of memory otherwise.
        &["--argon2-time-cost", "1", "--argon2-memory-cost", "8192"],
        &["--argon2-parallelism", "1"],
    ];
    let running = Running::start(&programs.join("devpi-server"), &arguments.concat(), folder);
    let server = format!("http://{address}");
    running.answers(&format!("{server}/+api")).await;
    let credential = OperatorCredential::new_password();
    let url = create_index(&server, &root, &credential).await;
    Some(Upstream::running(url, credential, running))
}

/// Creates the database with the user `root` and without an index.
fn initialize(programs: &Path, folder: &Path, password: &str) {
    let mut command = program(&programs.join("devpi-init"), folder);
    command.args(["--serverdir", "data", "--no-root-pypi", "--root-passwd"]);
    finished(command.arg(password).output().unwrap()).succeeded();
}

/// Creates the operator and its index; the URL of the index.
async fn create_index(
    server: &str,
    root: &OperatorCredential,
    operator: &OperatorCredential,
) -> String {
    let (user, password) = operator.basic();
    let user_url = format!("{server}/{user}");
    let account = json!({ "password": password });
    put(&user_url, ("root", root.basic().1), account).await;
    let index_url = format!("{user_url}/main");
    let index = json!({ "type": "stage", "bases": [], "volatile": false, "acl_upload": [user] });
    put(&index_url, (user, password), index).await;
    index_url
}

async fn put(url: &str, (user, password): (&str, &str), document: Value) {
    let http = Client::builder().no_proxy().build().unwrap();
    let request = http.put(url).basic_auth(user, Some(password));
    let request = request.header("accept", "application/json").json(&document);
    let answer = request.send().await.unwrap();
    let status = answer.status();
    assert!(status.is_success(), "{status} {:?}", answer.text().await);
}
