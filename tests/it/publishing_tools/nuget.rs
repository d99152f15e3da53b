//! NuGet's clients with a key of the front door `nuget`, which `NuGet/login` asks for.

use std::path::{Path, PathBuf};

use carnet_stand_ins::Protocol;
use flate2::Crc;

use super::Site;
use super::replays::{Replayed, chunked};
use crate::support::{Finished, Packages, may_skip};

/// Debian's package of NuGet 2.8, which runs on Mono.
const DEBIAN: &str = "/usr/bin/nuget";
const MONO: &str = "/usr/bin/mono";
/// A library of Mono that NuGet 5.8 needs; Debian has it in a package of its own.
const MONO_HTTP: &str = "/usr/lib/mono/4.5/System.Net.Http.dll";

fn has(program: &str) -> bool {
    Path::new(program).is_file() || !may_skip(&format!("{program}, for NuGet"))
}

impl Site {
    /// The call of the action for this user, with a new token.
    pub(crate) fn logs_in(&self, user: &str) -> Replayed {
        self.logs_in_with(user, &self.runner.token(&format!("https://{}", self.host)))
    }

    pub(crate) fn logs_in_with(&self, user: &str, jwt: &str) -> Replayed {
        self.replay("nuget-login", &[("user", user), ("jwt", jwt)])
    }

    pub(crate) fn nuget_key(&self) -> String {
        self.nuget_key_of("joel")
    }

    pub(crate) fn nuget_key_of(&self, user: &str) -> String {
        let answer = self.logs_in(user);
        answer.says(200, &["apiKey", "expires"]);
        answer.json()["apiKey"].as_str().unwrap().to_owned()
    }

    /// Writes a package: its file.
    fn nupkg(&self, name: &str, version: &str) -> PathBuf {
        let id = self.package(name);
        let specification = format!(
            "<?xml version=\"1.0\"?><package xmlns=\"http://schemas.microsoft.com/packaging/2010/07/nuspec.xsd\"><metadata>\
             <id>{id}</id><version>{version}</version><authors>octo</authors><owners>octo</owners>\
             <requireLicenseAcceptance>false</requireLicenseAcceptance><description>A package of a test</description>\
             </metadata></package>"
        );
        let file = |name: &str, text: &str| (name.to_owned(), text.to_owned());
        let types = "<?xml version=\"1.0\"?><Types xmlns=\"http://schemas.openxmlformats.org/package/2006/content-types\">\
                     <Default Extension=\"rels\" ContentType=\"application/vnd.openxmlformats-package.relationships+xml\"/>\
                     <Default Extension=\"nuspec\" ContentType=\"application/octet\"/>\
                     <Default Extension=\"txt\" ContentType=\"text/plain\"/></Types>";
        let relations = format!(
            "<?xml version=\"1.0\"?><Relationships xmlns=\"http://schemas.openxmlformats.org/package/2006/relationships\">\
             <Relationship Type=\"http://schemas.microsoft.com/packaging/2010/07/manifest\" Target=\"/{id}.nuspec\" Id=\"R1\"/>\
             </Relationships>"
        );
        let archive = stored_zip(&[
            file("[Content_Types].xml", types),
            file("_rels/.rels", &relations),
            file(&format!("{id}.nuspec"), &specification),
            file("content/version.txt", version),
        ]);
        let path = self
            .folder("packages-to-push")
            .join(format!("{id}.{version}.nupkg"));
        std::fs::write(&path, archive).unwrap();
        path
    }

    /// `dotnet nuget push`, as its library writes the request.
    pub(crate) fn dotnet_pushes(&self, key: &str, name: &str, version: &str) -> Replayed {
        let package = std::fs::read(self.nupkg(name, version)).unwrap();
        let body = chunked(&[
            b"--5de957dd-12a5-4beb-8fe0-95cecd533323\r\n",
            b"Content-Type: application/octet-stream\r\nContent-Disposition: form-data; name=package; \
              filename=package.nupkg; filename*=utf-8''package.nupkg\r\n\r\n",
            &package,
            b"\r\n--5de957dd-12a5-4beb-8fe0-95cecd533323--\r\n",
        ]);
        let values = [("key", key), ("path", "/api/v2/package")];
        self.replay_with("dotnet-nuget-push", &values, &body)
    }

    /// NuGet 5.8, whose library writes requests as `dotnet nuget push` does.
    fn nuget_5(&self, tools: &Path, arguments: &[&Path]) -> Finished {
        let program = tools.join("node_modules/nuget-exe/nuget-5.8.0.exe");
        let source = format!("{}v3/index.json", self.url);
        self.tool(MONO)
            .arguments([program.as_path()])
            .arguments(arguments)
            .arguments(["-Source", &source, "-NonInteractive"])
            .run()
    }

    pub(crate) fn nuget_5_pushes(
        &self,
        tools: &Path,
        key: &str,
        name: &str,
        version: &str,
    ) -> Finished {
        let package = self.nupkg(name, version);
        self.nuget_5(tools, &["push".as_ref(), &package, key.as_ref()])
    }

    pub(crate) fn nuget_5_installs(&self, tools: &Path, name: &str, version: &str) {
        let folder = self.folder("installed");
        let package = self.package(name);
        let install = ["install", &package, "-Version", version];
        let options = ["-NoCache", "-OutputDirectory"];
        let arguments = [install.as_slice(), &options].concat();
        let arguments = arguments.iter().map(AsRef::as_ref);
        let arguments: Vec<&Path> = arguments.chain([folder.as_path()]).collect();
        self.nuget_5(tools, &arguments).succeeded();
        self.nuget_installed(&folder, name, version);
    }

    /// The version in the content of the package that an installer laid below this folder.
    fn nuget_installed(&self, folder: &Path, name: &str, version: &str) {
        let package = format!("{}.{version}", self.package(name));
        let text = std::fs::read_to_string(folder.join(package).join("content/version.txt"));
        assert_eq!(text.unwrap(), version);
    }
}

/// A ZIP archive whose files are not compressed.
fn stored_zip(files: &[(String, String)]) -> Vec<u8> {
    let (mut archive, mut directory) = (Vec::new(), Vec::new());
    for (name, text) in files {
        let mut crc = Crc::new();
        crc.update(text.as_bytes());
        let length = (text.len() as u32).to_le_bytes();
        let offset = (archive.len() as u32).to_le_bytes();
        // Version 2.0, no flags, stored, midnight of the first day of 1980.
        let mut common = vec![20, 0, 0, 0, 0, 0, 0, 0, 0x21, 0];
        common.extend(crc.sum().to_le_bytes());
        common.extend([length, length].concat());
        common.extend((name.len() as u16).to_le_bytes());
        common.extend([0, 0]);
        archive.extend(b"PK\x03\x04");
        archive.extend(&common);
        archive.extend(name.bytes().chain(text.bytes()));
        directory.extend(b"PK\x01\x02\x14\x00");
        directory.extend(&common);
        directory.extend([0; 10]);
        directory.extend(offset);
        directory.extend(name.bytes());
    }
    let (length, offset) = (directory.len() as u32, archive.len() as u32);
    let count = (files.len() as u16).to_le_bytes();
    archive.extend(directory);
    archive.extend(b"PK\x05\x06\x00\x00\x00\x00");
    archive.extend([count, count].concat());
    archive.extend(length.to_le_bytes());
    archive.extend(offset.to_le_bytes());
    archive.extend([0, 0]);
    archive
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_request_of_dotnet_nuget_push_is_accepted_with_a_key_of_the_action() {
    let site = Site::new(Protocol::Nuget).await;
    let key = site.nuget_key();
    let pushed = site.dotnet_pushes(&key, "widgets", "1.0.0");
    assert_eq!(pushed.status, 201, "{pushed:?}");
    // dotnet prints the phrase of the status line, and nothing else of the answer.
    let outside = site.dotnet_pushes(&key, "gadgets", "1.0.0");
    assert_eq!(outside.status, 403, "{outside:?}");
    assert!(outside.phrase.contains("Octo.gadgets"), "{outside:?}");

    let jwt = site.runner.token(&format!("https://{}", site.host));
    site.logs_in_with("joel", &jwt).says(200, &["apiKey"]);
    let again = site.logs_in_with("joel", &jwt);
    again.says(401, &[]);
    // What the action prints.
    let error = |answer: &Replayed| answer.json()["error"].as_str().unwrap().to_owned();
    site.prints_as_shown("tools-nuget", "second use", &error(&again));
    site.wrong_workflow();
    let wrong = site.logs_in("joel");
    wrong.says(401, &[]);
    site.prints_as_shown("tools-nuget", "wrong workflow", &error(&wrong));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_user_of_nugets_action_is_the_principal_so_that_self_service_rules_publish_new_packages()
 {
    let site = Site::new(Protocol::Nuget).await;
    site.rule("fresh", &["fresh"], false).await;
    let pushed = site.dotnet_pushes(&site.nuget_key(), "fresh", "1.0.0");
    assert_eq!(pushed.status, 201, "{pushed:?}");
    assert_eq!(site.logs_in("nobody").status, 401);
}

/// Debian's NuGet on Mono, over plain http: Mono has its own store of authorities.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn debians_nuget_pushes_with_a_key_of_the_action_and_installs() {
    if !has(DEBIAN) {
        return;
    }
    let site = Site::with(Protocol::Nuget, false).await;
    let nuget = || site.tool(DEBIAN);
    let push = |key: &str, name: &str, version: &str| -> Finished {
        let package = site.nupkg(name, version);
        let source = format!("{}api/v2/package", site.url);
        let options = ["-Source", &source, "-NonInteractive"];
        // It takes an absolute path for one below the folder it runs in.
        nuget()
            .in_folder(package.parent().unwrap())
            .arguments(["push".as_ref(), package.file_name().unwrap(), key.as_ref()])
            .arguments(options)
            .run()
    };
    let key = site.nuget_key();
    push(&key, "widgets", "1.0.0").succeeded();
    let folder = site.folder("installed");
    let source = format!("{}api/v2/", site.url);
    nuget()
        .arguments(["install", &site.package("widgets"), "-Source", &source])
        .arguments(["-NonInteractive", "-NoCache", "-OutputDirectory"])
        .arguments([&folder])
        .run()
        .succeeded();
    site.nuget_installed(&folder, "widgets", "1.0.0");
    let other = push(&key, "gadgets", "1.0.0");
    site.fails_as_shown("tools-nuget", "other package 2.8", &other);
    push("no-key", "widgets", "1.1.0").failed_saying(&["403", "carnet exchange"]);
}

/// What NuGet 5.8 needs. None where the machine lacks it and that is allowed.
pub(crate) fn nuget_5_tools() -> Option<&'static PathBuf> {
    if has(MONO) && has(MONO_HTTP) {
        Packages::NpmTools.installed()
    } else {
        None
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nuget_5_pushes_with_a_key_of_the_action_and_installs() {
    let Some(tools) = nuget_5_tools() else {
        return;
    };
    let site = Site::with(Protocol::Nuget, false).await;
    let push = |key: &str, name: &str| site.nuget_5_pushes(tools, key, name, "1.0.0");
    push(&site.nuget_key(), "widgets").succeeded();
    site.nuget_5_installs(tools, "widgets", "1.0.0");
    let other = push(&site.nuget_key(), "gadgets");
    site.fails_as_shown("tools-nuget", "other package 5.8", &other);

    // A person of a self-service rule gets a key by hand, as for any other tool.
    site.rule("fresh", &["fresh"], false).await;
    push(&site.named_token(), "fresh").succeeded();
}
