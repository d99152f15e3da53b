//! What the guide of replicas gives operators: the nginx in front of two replicas, the Kubernetes manifest, the systemd unit.

use std::path::Path;
use std::process::Command;

use carnet::config::Config;

use super::documents::{files, read};
use super::surroundings::{Program, is_installed, nginx, nginx_conf};
use crate::support::{Installed, ServerProcess, TestDb, finished, free_address, may_skip};

const PAGE: &str = "docs/src/guides/replicas.md";

#[tokio::test]
async fn the_configurations_of_deployments_are_accepted_with_their_secrets_in_files() {
    let db = TestDb::new().await;
    let folder = db.folder();
    let samples = files("docs/samples/deployment", ".toml");
    assert_eq!(samples.len(), 2);
    for path in samples {
        let mut text = std::fs::read_to_string(&path).unwrap();
        let url = "postgres://carnet:PASSWORD@db.example:5432/carnet?sslmode=verify-full\n";
        let key = format!("{}\n", "0f".repeat(32));
        for (key, content) in [("url_file", url), ("encryption_key_file", key.as_str())] {
            let named = text
                .split(&format!("{key} = \""))
                .nth(1)
                .unwrap()
                .split('"')
                .next()
                .unwrap()
                .to_owned();
            let file = folder.join(key);
            std::fs::write(&file, content).unwrap();
            text = text.replace(&named, &file.display().to_string());
        }
        let file = folder.join("carnet.toml");
        std::fs::write(&file, &text).unwrap();
        let config = Config::from_sources(Some(&file), []);
        assert!(config.is_ok(), "{}: {config:?}", path.display());
        assert!(!config.unwrap().database.url.is_sqlite());
    }
}

#[tokio::test]
async fn behind_the_nginx_of_the_guide_requests_go_on_when_a_replica_is_gone() {
    if !is_installed("nginx") {
        may_skip("nginx");
        return;
    }
    let (outside, second) = (free_address(), free_address());
    let trusted = [
        ("CARNET_SERVER__TRUSTED_PROXIES", "[\"127.0.0.1/32\"]"),
        ("CARNET_SERVER__UNSHARED_PEERS", "[\"127.0.0.1/32\"]"),
    ];
    let installed = Installed::new(&trusted).await;
    let folder = installed.db.folder();
    let first = installed.start().await;
    // Two processes share a PostgreSQL database only. With SQLite the second replica is gone from the start.
    let another = if installed.db.url().starts_with("postgres") {
        let mut settings = installed.settings();
        settings.retain(|(name, _)| *name != "CARNET_SERVER__LISTEN");
        Some(ServerProcess::start_at(folder, &second, &settings).await)
    } else {
        None
    };
    let guide = read(PAGE);
    let block = guide
        .split("```nginx\n")
        .nth(1)
        .unwrap()
        .split("```")
        .next()
        .unwrap();
    let conf = nginx_conf(
        folder,
        block,
        &[
            ("listen 443 ssl", format!("listen {outside} ssl")),
            (
                "server 10.0.0.5:8080",
                format!("server {}", installed.address),
            ),
            ("server 10.0.0.6:8080", format!("server {second}")),
        ],
    );
    let mut nginx = nginx(folder, &conf);
    let Some(_nginx) = Program::start("nginx", &mut nginx, &outside).await else {
        return;
    };
    let authority = std::fs::read(folder.join("authority.pem")).unwrap();
    let http = reqwest::Client::builder()
        .add_root_certificate(reqwest::Certificate::from_pem(&authority).unwrap())
        .no_proxy()
        .build()
        .unwrap();
    let port = outside.rsplit(':').next().unwrap();
    let token = async || {
        let assertion = installed.good();
        let form = [
            ("grant_type", crate::support::JWT_BEARER),
            ("assertion", assertion.as_str()),
        ];
        let url = format!("https://localhost:{port}/token");
        http.post(url)
            .form(&form)
            .send()
            .await
            .unwrap()
            .status()
            .as_u16()
    };
    for _ in 0..6 {
        assert_eq!(token().await, 200);
    }
    let Some(another) = another else { return };
    first.kill();
    for _ in 0..6 {
        assert_eq!(token().await, 200);
    }
    drop(another);
}

#[test]
fn the_kubernetes_manifest_holds_the_configuration_of_the_guide_and_no_service_links() {
    let manifest = read("integrations/kubernetes/carnet.yaml");
    let inner = manifest.split("  carnet.toml: |\n").nth(1).unwrap();
    let inner: String = inner
        .lines()
        .take_while(|line| line.is_empty() || line.starts_with("    "))
        .map(|line| line.strip_prefix("    ").unwrap_or(line).to_owned() + "\n")
        .collect();
    assert_eq!(inner, read("docs/samples/deployment/kubernetes.toml"));
    let pods = manifest.matches("      containers:\n").count();
    assert_eq!(pods, 2);
    assert_eq!(
        manifest.matches("enableServiceLinks: false\n").count(),
        pods
    );
    // Its ports are those of the configuration, and the user that of the image.
    for (port, address) in [
        ("http, containerPort: 8080", "0.0.0.0:8080"),
        ("metrics, containerPort: 9090", "0.0.0.0:9090"),
    ] {
        assert!(manifest.contains(port) && inner.contains(address));
    }
    let dockerfile = read("Dockerfile");
    let user = dockerfile.split("\nUSER ").nth(1).unwrap();
    let user = user.split(':').next().unwrap();
    assert!(manifest.contains(&format!("runAsUser: {user}\n")));
    let config: toml::Table = inner.parse().unwrap();
    for key in ["database.url_file", "keys.encryption_key_file"] {
        let (table, key) = key.split_once('.').unwrap();
        let file = config[table][key].as_str().unwrap();
        let (folder, name) = file.rsplit_once('/').unwrap();
        assert!(
            manifest.contains(&format!("mountPath: {folder}, readOnly")),
            "{folder}"
        );
        assert!(
            manifest.contains(&format!("--from-literal={name}=")),
            "{name}"
        );
    }
}

/// The image has no other libraries.
#[test]
fn the_server_needs_no_library_that_the_container_image_lacks() {
    let image = read("Dockerfile");
    assert!(image.contains("\nFROM gcr.io/distroless/cc-debian12\n"));
    let needed = Command::new("ldd")
        .arg(env!("CARGO_BIN_EXE_carnet"))
        .output()
        .unwrap();
    let needed = String::from_utf8(needed.stdout).unwrap();
    let names: Vec<&str> = needed
        .lines()
        .filter_map(|line| line.trim().split([' ', '\t']).next())
        .map(|path| path.rsplit('/').next().unwrap())
        .collect();
    assert!(names.contains(&"libc.so.6"), "{needed}");
    for name in names {
        let has = [
            "libc.so.6",
            "libm.so.6",
            "libgcc_s.so.1",
            "libdl.so.2",
            "libpthread.so.0",
            "librt.so.1",
        ]
        .contains(&name);
        assert!(
            has || name.starts_with("linux-vdso") || name.starts_with("ld-linux"),
            "{name}"
        );
    }
}

#[test]
fn the_systemd_units_are_understood() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let names = [
        "carnet.service",
        "carnet-gateway.service",
        "carnet-rotate-keys.service",
        "carnet-rotate-keys.timer",
    ];
    let units = names.map(|name| root.join("integrations/systemd").join(name));
    let Ok(output) = Command::new("systemd-analyze")
        .arg("verify")
        .args(units)
        .output()
    else {
        may_skip("systemd-analyze");
        return;
    };
    let run = finished(output);
    // The binary is not at the place that the unit names here; everything else has to be known.
    let complaints: Vec<&str> = run
        .stderr
        .lines()
        .filter(|line| line.contains("carnet") && !line.contains("is not executable"))
        .collect();
    assert!(complaints.is_empty(), "{complaints:?}");
}

#[test]
fn the_haproxy_of_the_compose_file_is_understood_and_trusted_at_its_address() {
    let compose = read("docker-compose.replicas.yml");
    let address = compose.split("ipv4_address: ").nth(1).unwrap().trim();
    let trusted = compose
        .lines()
        .find(|line| line.contains("TRUSTED_PROXIES"));
    assert!(trusted.unwrap().contains(&format!("\"{address}/32\"")));
    assert!(compose.contains("./integrations/haproxy/haproxy.cfg:"));
    // Only what is in the network of the first file can have this address.
    assert!(read("docker-compose.yml").contains("subnet: 172.31.251.0/24"));
    if !is_installed("haproxy") {
        may_skip("haproxy");
        return;
    }
    let checked = Command::new("haproxy")
        .args(["-c", "-f", "integrations/haproxy/haproxy.cfg"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output();
    let checked = finished(checked.unwrap());
    assert_eq!(checked.code, 0, "{checked:?}");
}
