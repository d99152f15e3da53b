//! The acts of `carnet quickstart` that publish with npm or uv, at a front door and through the gateway,
//! what these see of the user, and the act in which people sign in.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use crate::support::{Finished, Packages, carnet, finished, may_skip};

/// What the environment and the home folder of a user hold.
const SECRET: &str = "npm_0123456789secret";

/// A tool that says its version, and then prints what it sees and fails.
const CURIOUS: &str = r#"#!/bin/sh
[ "$1" = --version ] && { echo "VERSION"; exit; }
echo "arguments: $*"
/usr/bin/env | /usr/bin/sed 's/^/variable: /'
echo "home: $(/bin/ls -A "$HOME")"
exit 7
"#;

/// A user: a home folder with credentials, a folder for programs, and one for temporary files.
struct User {
    folder: PathBuf,
}

impl User {
    fn new() -> Self {
        let name = uuid::Uuid::now_v7().to_string();
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        for name in ["home/.cargo", "programs", "temporary"] {
            std::fs::create_dir_all(folder.join(name)).unwrap();
        }
        for name in [".npmrc", ".pypirc", ".netrc", ".cargo/credentials.toml"] {
            std::fs::write(folder.join("home").join(name), SECRET).unwrap();
        }
        Self { folder }
    }

    fn with_program(self, name: &str, text: &str) -> Self {
        let file = self.folder.join("programs").join(name);
        std::fs::write(&file, text).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
        self
    }

    /// Makes the tour with this value of `PATH`, and sees that it leaves nothing behind.
    fn tours(&self, path: &str) -> Finished {
        let mut quickstart = carnet();
        quickstart
            .args(["quickstart", "--once"])
            .current_dir(self.folder.join("home"))
            .env("HOME", self.folder.join("home"))
            .env("TMPDIR", self.folder.join("temporary"))
            .env("PATH", path)
            .env("NPM_TOKEN", SECRET)
            .env("NODE_AUTH_TOKEN", SECRET)
            .env("npm_config_//registry.npmjs.org/:_authToken", SECRET)
            .env("NPM_ID_TOKEN", SECRET)
            .env("UV_PUBLISH_TOKEN", SECRET)
            .env("TWINE_PASSWORD", SECRET)
            .env("CARGO_REGISTRY_TOKEN", SECRET)
            .env("NETRC", self.folder.join("home/.netrc"));
        let tour = finished(quickstart.output().unwrap());
        let left = std::fs::read_dir(self.folder.join("temporary")).unwrap();
        assert_eq!(left.count(), 0, "{tour:?}");
        tour
    }

    fn programs(&self) -> String {
        self.folder.join("programs").display().to_string()
    }
}

impl Drop for User {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.folder).ok();
    }
}

/// The names of the variables that a curious tool printed.
fn variables(tour: &Finished) -> BTreeSet<&str> {
    let lines = tour.stderr.lines();
    let variables = lines.filter_map(|line| line.strip_prefix("variable: "));
    let names = variables.filter_map(|line| line.split_once('=').map(|(name, _)| name));
    // The shell that runs the curious tool sets these itself.
    let own = ["PWD", "OLDPWD", "SHLVL", "_"];
    names.filter(|name| !own.contains(name)).collect()
}

#[test]
fn a_tool_of_the_tour_sees_no_variable_and_no_file_of_the_user() {
    let job = [
        "ACTIONS_ID_TOKEN_REQUEST_TOKEN",
        "ACTIONS_ID_TOKEN_REQUEST_URL",
        "CI",
        "GITHUB_ACTIONS",
        "HOME",
        "PATH",
        "TMPDIR",
    ];
    let npm = [
        "NPM_CONFIG_CACHE",
        "NPM_CONFIG_GLOBALCONFIG",
        "NPM_CONFIG_USERCONFIG",
    ];
    let uv = [
        "SSL_CERT_FILE",
        "UV_CACHE_DIR",
        "UV_KEYRING_PROVIDER",
        "UV_NO_CONFIG",
    ];
    for (name, version, own, registry) in [
        ("npm", "11.5.1", &npm[..], "--registry http://127.0.0.1:"),
        (
            "uv",
            "uv 0.9.0 (abc)",
            &uv[..],
            "--publish-url https://127.0.0.1:",
        ),
    ] {
        let user = User::new().with_program(name, &CURIOUS.replace("VERSION", version));
        let tour = user.tours(&user.programs());
        // The tool fails, so the tour does, with the tool's output.
        assert_eq!(tour.code, 1, "{tour:?}");
        let expected: BTreeSet<&str> = job.iter().chain(own).copied().collect();
        assert_eq!(variables(&tour), expected, "{tour:?}");
        let seen = |text: &str| tour.stderr.contains(text);
        assert!(seen("arguments: publish") && seen(registry), "{tour:?}");
        assert!(tour.stderr.lines().any(|line| line == "home: "), "{tour:?}");
        let temporary = user.folder.join("temporary/carnet-quickstart-");
        let home = format!("variable: HOME={}", temporary.display());
        assert!(seen(&home), "{home} is missing in {tour:?}");
        let url = tour
            .stderr
            .lines()
            .find(|line| line.contains("TOKEN_REQUEST_URL="));
        assert!(url.unwrap().contains('?'), "{url:?}");
        assert!(
            !seen(SECRET) && !tour.stdout.contains(SECRET),
            "{name}: {tour:?}"
        );
    }
}

#[test]
fn without_npm_and_uv_the_tour_says_so_and_goes_on() {
    let user = User::new();
    let tour = user.tours(&user.programs());
    assert_eq!(tour.code, 0, "{tour:?}");
    let told = "(Publishing with npm or uv is left out: npm is not on PATH; uv is not on PATH.)\n";
    assert!(tour.stdout.contains(told), "{tour:?}");
    // Without any PATH too.
    let tour = user.tours("");
    assert!(
        tour.code == 0 && tour.stdout.contains(told),
        "{}",
        tour.stdout
    );
}

/// What everybody sees of the gateway's act, whoever publishes.
const THROUGH_THE_GATEWAY: [&str; 7] = [
    "credential = { ",
    "widgets-1.0.0-py3-none-any.whl",
    "publish of `gadgets` is refused",
    "it covers `widgets`, `widgets-*`",
    "\"owner\": \"joel\"",
    "\"repository\": \"octo-org/octo-repo\"",
    "\"run_id\": \"9001\"",
];

/// The gateway's act of a tour, with all of that and what else is said.
fn shows_the_gateway(tour: &Finished, said: &[&str]) {
    assert_eq!(tour.code, 0, "{tour:?}");
    let (_, act) = tour
        .stdout
        .split_once("=== Registries need no change")
        .unwrap();
    for part in THROUGH_THE_GATEWAY.iter().chain(said) {
        assert!(act.contains(part), "{part} is missing in {act}");
    }
    // It refused a package once, and so there is one publication.
    assert_eq!(act.matches("\"state\": \"accepted\"").count(), 1, "{act}");
    assert!(!act.contains(SECRET), "{act}");
}

#[test]
fn without_uv_the_gateway_is_shown_with_requests_and_the_example_registry() {
    let user = User::new();
    let tour = user.tours(&user.programs());
    shows_the_gateway(
        &tour,
        &[
            "(uv and pypiserver are left out: uv is not on PATH. curl sends what uv would.)\n",
            "(the example registry: uploads need a token",
            "-u \"__token__:$KEY\"",
            "403 Forbidden",
        ],
    );
}

/// A user with uv, and with pypiserver or a program in its place.
fn user_of_uv(pypiserver: Option<&str>) -> Option<User> {
    let tools = Packages::PypiTools.installed()?.join("bin");
    let user = User::new();
    let link = |name: &str| {
        let link = user.folder.join("programs").join(name);
        std::os::unix::fs::symlink(tools.join(name), link).unwrap();
    };
    link("uv");
    match pypiserver {
        None => {
            link("pypi-server");
            Some(user)
        }
        Some(text) => Some(user.with_program("pypi-server", text)),
    }
}

#[test]
fn uv_publishes_through_the_gateway_to_pypiserver_which_ends_with_the_tour() {
    let Some(user) = user_of_uv(None) else { return };
    let tour = user.tours(&user.programs());
    shows_the_gateway(
        &tour,
        &[
            "(pypiserver: uploads need a password, which the gateway alone has)",
            "password_file = \"secret\"",
            "Publishing 1 file to https://127.0.0.1:",
            "<a href=\"/packages/widgets-1.0.0-py3-none-any.whl#sha256=",
        ],
    );
    assert!(!tour.stdout.contains("left out"), "{}", tour.stdout);
    let registry = tour.stdout.split("\nregistry http://").nth(1);
    let address = registry.and_then(|rest| rest.split(' ').next()).unwrap();
    let refused = std::net::TcpStream::connect(address);
    assert!(refused.is_err(), "something listens at {address}");
}

#[test]
fn a_pypiserver_that_does_not_start_is_left_out_with_what_it_said() {
    let fails = "#!/bin/sh\necho passlib is missing >&2; exit 3\n";
    let Some(user) = user_of_uv(Some(fails)) else {
        return;
    };
    let tour = user.tours(&user.programs());
    shows_the_gateway(
        &tour,
        &[
            "(pypiserver is left out: pypi-server ended with exit status: 3 (passlib is missing).)\n",
            "token_file = \"secret\"",
            "Publishing 1 file to https://127.0.0.1:",
        ],
    );
}

#[test]
fn a_signal_ends_the_tour_with_its_registry_and_its_files() {
    use std::io::{BufRead as _, BufReader};
    // The registry never answers, so that the signal comes while it starts.
    let hangs = "#!/bin/sh\necho $$ > ../../../../process; exec /bin/sleep 600\n";
    let Some(user) = user_of_uv(Some(hangs)) else {
        return;
    };
    let mut tour = carnet()
        .args(["quickstart", "--once"])
        .env("HOME", user.folder.join("home"))
        .env("TMPDIR", user.folder.join("temporary"))
        .env("PATH", user.programs())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(tour.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().starts_with("=== Registries need no change")));
    let process = user.folder.join("temporary/process");
    let id = loop {
        match std::fs::read_to_string(&process) {
            Ok(id) if id.ends_with('\n') => break id,
            _ => std::thread::sleep(std::time::Duration::from_millis(10)),
        }
        assert!(tour.try_wait().unwrap().is_none(), "the tour ended");
    };
    let kill = std::process::Command::new("kill")
        .args(["-INT", &tour.id().to_string()])
        .status();
    assert!(kill.unwrap().success());
    assert_eq!(tour.wait().unwrap().code(), Some(1));
    let status = std::fs::read_to_string(format!("/proc/{}/status", id.trim()));
    assert!(
        !status.is_ok_and(|status| !status.contains("State:\tZ")),
        "{id} lives"
    );
    std::fs::remove_file(process).unwrap();
    let left = std::fs::read_dir(user.folder.join("temporary")).unwrap();
    assert_eq!(left.count(), 0);
}

#[test]
fn tools_that_are_too_old_or_do_not_work_here_are_left_out() {
    let user = User::new()
        .with_program("npm", &CURIOUS.replace("VERSION", "11.5.0"))
        .with_program("uv", "#!/bin/sh\necho no home >&2; exit 1\n");
    let tour = user.tours(&user.programs());
    assert_eq!(tour.code, 0, "{tour:?}");
    let told = "npm 11.5.0 is older than 11.5.1; uv does not say its version in an empty home folder (no home)";
    assert!(tour.stdout.contains(told), "{tour:?}");
}

/// The last act with the pinned tool of this folder. Its program stands alone in a folder, so that no
/// preferred tool is found before it.
fn publishes(tool: &str, programs: Option<PathBuf>, said: &[&str]) {
    let Some(programs) = programs else {
        may_skip(tool);
        return;
    };
    let path = std::env::var("PATH").unwrap();
    let found = programs.join(tool);
    let user = User::new();
    let link = user.folder.join("programs").join(tool);
    std::os::unix::fs::symlink(found, link).unwrap();
    // npm is a script that looks for node.
    let path = match tool {
        "npm" => format!("{}:{}:{path}", user.programs(), programs.display()),
        _ => user.programs(),
    };
    let tour = user.tours(&path);
    assert_eq!(tour.code, 0, "{tour:?}");
    assert!(
        tour.stdout.contains(&format!("The job runs {tool}")),
        "{tour:?}"
    );
    for part in said {
        assert!(
            tour.stdout.contains(part),
            "{part} is missing in {}",
            tour.stdout
        );
    }
    assert!(!tour.stdout.contains(SECRET), "{tour:?}");
}

#[test]
fn npm_publishes_in_the_tour_and_tells_why_another_branch_may_not() {
    let tools = Packages::NpmTools.installed();
    publishes(
        "npm",
        tools.map(|folder| folder.join("node_modules/.bin")),
        &[
            "npm verbose oidc Successfully retrieved and set token\n+ widgets@1.0.0\n",
            "\"dist-tags\":{\"latest\":\"1.0.0\"}",
            "npm verbose oidc Failed token exchange request with body message: OIDC token exchange error - ",
            "ref expected refs/heads/main, received refs/heads/feature",
            "npm error code ENEEDAUTH",
        ],
    );
}

#[test]
fn uv_publishes_in_the_tour_over_https_and_tells_why_another_branch_may_not() {
    let tools = Packages::PypiTools.installed();
    publishes(
        "uv",
        tools.map(|folder| folder.join("bin")),
        &[
            "Publishing 1 file to https://127.0.0.1:",
            "widgets-1.0.0-py3-none-any.whl#sha256=",
            "Failed to obtain token for trusted publishing",
            "ref expected refs/heads/main, received refs/heads/feature",
        ],
    );
}

#[test]
fn people_sign_in_at_a_stand_in_with_a_loopback_address_of_its_own() {
    let user = User::new();
    let tour = user.tours(&user.programs());
    assert_eq!(tour.code, 0, "{tour:?}");
    let (before, act) = tour.stdout.split_once("=== People sign in too").unwrap();
    for part in [
        "(a stand-in for the company's: three people, no passwords)",
        "/console/sign-in/corp/callback\n",
        "Signed in as Peter Publisher\n",
        "joel  owner joel-owners\n",
        "Let The example registry act for you?\n",
        "303 See Other, to http://127.0.0.1:",
        "You act for joel.\n",
        "widgets, with 1.0.0: this page may publish it",
        "200 OK\nYou are signed out here\n",
        "303 See Other, to http://localhost:",
        "403 Forbidden\nNo membership lets you in\n",
        "\"octo-org-readers\"\n",
        "Reason no_membership\n",
    ] {
        assert!(act.contains(part), "{part} is missing in {act}");
    }
    // Cookies stay in the files of the tour.
    assert!(!act.contains("carnet-session"), "{act}");
    assert!(!act.contains("example-registry-"), "{act}");
    let host = |url: &str| url.rsplit_once(':').unwrap().0.to_owned();
    let after = |text: &str, word: &str| {
        let rest = text.split_once(word).unwrap().1;
        rest.split_whitespace().next().unwrap().to_owned()
    };
    let hosts = [
        after(before, "carnet   "),
        after(before, "registry "),
        after(act, "provider "),
    ];
    let different: BTreeSet<String> = hosts.iter().map(|url| host(url)).collect();
    assert_eq!(different.len(), 3, "{hosts:?}");
}
