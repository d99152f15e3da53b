//! Certification authorities with what they publish.

use std::path::{Path, PathBuf};
use std::{fs, process};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::HOST;
use crate::holdings::{Holdings, Window};
use crate::message::{Attestation, SignedMessage};
use crate::openssl::{DAY, generalized, new_key, run};

/// A certification authority. Its folder in the repository is named like it.
pub struct Authority {
    pub name: String,
    /// Keys and databases.
    pub(crate) home: PathBuf,
    cache: PathBuf,
    is_anchor: bool,
    /// The URI of its own certificate.
    uri: String,
}

impl Authority {
    pub(crate) fn anchor(work: &Path, cache: &Path, name: &str, holdings: &Holdings) -> Self {
        let uri = format!("rsync://{HOST}/ta/{name}.cer");
        let anchor = Self::prepare(work, cache, name, true, uri);
        let extensions = anchor.ca_extensions(holdings, None);
        anchor.certify(
            &anchor,
            &extensions,
            &Window::around_now(DAY, 3650 * DAY),
            "ca",
        );
        let to = cache.join("ta").join(name);
        fs::create_dir_all(&to).expect("a directory for the anchor");
        fs::copy(anchor.home.join("ca.cer"), to.join(format!("{name}.cer"))).expect("a copy");
        anchor
    }

    fn prepare(work: &Path, cache: &Path, name: &str, is_anchor: bool, uri: String) -> Self {
        let home = work.join(name);
        fs::create_dir_all(home.join("new")).expect("a directory for an authority");
        for (file, content) in [
            ("index.txt", ""),
            ("serial", "1000"),
            ("crlnumber", "01"),
            ("manifestnumber", "1"),
        ] {
            fs::write(home.join(file), content).expect("a file of the authority");
        }
        let authority = Self {
            name: name.to_owned(),
            home,
            cache: cache.to_owned(),
            is_anchor,
            uri,
        };
        new_key(&authority.home, "ca.key");
        authority.request("ca", name);
        fs::create_dir_all(authority.folder()).expect("a folder of the repository");
        authority
    }

    /// An authority below this one. Both must be published afterwards.
    pub fn issue_authority(&self, name: &str, holdings: &Holdings) -> Self {
        self.issue_authority_within(name, holdings, &Window::around_now(3600, 365 * DAY))
    }

    pub fn issue_authority_within(&self, name: &str, holdings: &Holdings, window: &Window) -> Self {
        let work = self
            .home
            .parent()
            .expect("authorities have a common folder");
        let uri = format!("{}{name}.cer", self.folder_uri());
        let authority = Self::prepare(work, &self.cache, name, false, uri);
        authority.certify(
            self,
            &authority.ca_extensions(holdings, Some(self)),
            window,
            "ca",
        );
        fs::copy(
            authority.home.join("ca.cer"),
            self.folder().join(format!("{name}.cer")),
        )
        .expect("a copy of a certificate");
        authority
    }

    /// Its own certificate.
    pub fn certificate_pem(&self) -> Vec<u8> {
        fs::read(self.home.join("ca.pem")).expect("a certificate")
    }

    /// The folder of what it publishes, in the cache.
    pub fn folder(&self) -> PathBuf {
        self.cache.join(HOST).join("repo").join(&self.name)
    }

    pub(crate) fn folder_uri(&self) -> String {
        format!("rsync://{HOST}/repo/{}/", self.name)
    }

    pub fn crl(&self) -> PathBuf {
        self.folder().join(format!("{}.crl", self.name))
    }

    pub fn manifest(&self) -> PathBuf {
        self.folder().join(format!("{}.mft", self.name))
    }

    fn request(&self, file: &str, common_name: &str) {
        self.write_configuration("");
        run(
            &self.home,
            &[
                "req",
                "-new",
                "-config",
                "ca.cnf",
                "-key",
                &format!("{file}.key"),
                "-subj",
                &format!("/CN={common_name}"),
                "-out",
                &format!("{file}.csr"),
            ],
        );
    }

    fn ca_extensions(&self, holdings: &Holdings, issuer: Option<&Self>) -> String {
        let folder = self.folder_uri();
        let mut lines = format!(
            "subjectKeyIdentifier = hash\n\
             basicConstraints = critical, CA:true\n\
             keyUsage = critical, keyCertSign, cRLSign\n\
             certificatePolicies = critical, 1.3.6.1.5.5.7.14.2\n\
             subjectInfoAccess = caRepository;URI:{folder}, 1.3.6.1.5.5.7.48.10;URI:{folder}{}.mft\n",
            self.name
        );
        if let Some(issuer) = issuer {
            lines.push_str(&issuer.issued_extensions());
        }
        lines.push_str(&holdings.extensions());
        lines
    }

    /// What every certificate has that this authority issues.
    fn issued_extensions(&self) -> String {
        format!(
            "authorityKeyIdentifier = keyid:always\n\
             authorityInfoAccess = caIssuers;URI:{}\n\
             crlDistributionPoints = URI:{}{}.crl\n",
            self.uri,
            self.folder_uri(),
            self.name
        )
    }

    pub(crate) fn ee_extensions(&self, holdings: &Holdings, more: &str) -> String {
        format!(
            "subjectKeyIdentifier = hash\n\
             keyUsage = critical, digitalSignature\n\
             certificatePolicies = critical, 1.3.6.1.5.5.7.14.2\n\
             {}{}{more}",
            self.issued_extensions(),
            holdings.extensions()
        )
    }

    pub(crate) fn write_configuration(&self, extensions: &str) {
        let configuration = format!(
            "[ca]\ndefault_ca = here\n\
             [here]\ndatabase = index.txt\nserial = serial\ncrlnumber = crlnumber\nnew_certs_dir = new\n\
             default_md = sha256\npolicy = any\nunique_subject = no\ncopy_extensions = none\n\
             [any]\ncommonName = supplied\n\
             [req]\ndistinguished_name = name\nstring_mask = nombstr\nprompt = no\n\
             [name]\n\
             [crl]\nauthorityKeyIdentifier = keyid:always\n\
             [extensions]\n{extensions}"
        );
        fs::write(self.home.join("ca.cnf"), configuration).expect("a configuration");
    }

    /// Has `issuer` certify the key `FILE.key`; leaves `FILE.pem` and `FILE.cer` here.
    fn certify(&self, issuer: &Self, extensions: &str, window: &Window, file: &str) {
        issuer.write_configuration(extensions);
        let path = |extension: &str| {
            let path = self.home.join(format!("{file}.{extension}"));
            path.to_str().expect("a path is text").to_owned()
        };
        let request = path("csr");
        let certificate = path("pem");
        let (from, until) = (generalized(window.from), generalized(window.until));
        let mut arguments = vec![
            "ca",
            "-batch",
            "-notext",
            "-config",
            "ca.cnf",
            "-in",
            &request,
            "-out",
            &certificate,
            "-startdate",
            &from,
            "-enddate",
            &until,
            "-extensions",
            "extensions",
            "-keyfile",
            "ca.key",
        ];
        if issuer.is_anchor && issuer.home == self.home && file == "ca" {
            arguments.push("-selfsign");
        } else {
            arguments.extend(["-cert", "ca.pem"]);
        }
        run(&issuer.home, &arguments);
        run(
            &self.home,
            &[
                "x509",
                "-in",
                &certificate,
                "-outform",
                "DER",
                "-out",
                &path("cer"),
            ],
        );
    }

    /// A new key with a certificate of its own.
    pub(crate) fn issue_leaf(&self, file: &str, extensions: &str, window: &Window) {
        new_key(&self.home, &format!("{file}.key"));
        self.request(file, &format!("{file}-{}", self.next_serial()));
        self.certify(self, extensions, window, file);
    }

    fn next_serial(&self) -> String {
        let serial = fs::read_to_string(self.home.join("serial")).expect("a serial number");
        serial.trim().to_owned()
    }

    /// Signs content with `FILE.key` as RFC 6488 wants it.
    pub(crate) fn sign(
        &self,
        file: &str,
        content_type: &str,
        content: &[u8],
        more: &[&str],
    ) -> Vec<u8> {
        fs::write(self.home.join("content"), content).expect("content");
        let (key, certificate) = (format!("{file}.key"), format!("{file}.pem"));
        let mut arguments = vec![
            "cms",
            "-sign",
            "-binary",
            "-nodetach",
            "-in",
            "content",
            "-outform",
            "DER",
            "-keyid",
            "-nosmimecap",
            "-md",
            "sha256",
            "-econtent_type",
            content_type,
            "-signer",
            &certificate,
            "-inkey",
            &key,
        ];
        arguments.extend(more);
        run(&self.home, &arguments)
    }

    /// An attestation of these octets.
    pub fn attest(&self, octets: &[u8], attestation: &Attestation) -> SignedMessage {
        let extensions = self.ee_extensions(&attestation.holdings, &attestation.more_extensions);
        self.issue_leaf("rsm", &extensions, &attestation.window);
        fs::write(self.home.join("octets"), octets).expect("octets");
        let digest = run(&self.home, &["dgst", "-sha256", "-r", "octets"]);
        let digest = String::from_utf8(digest).expect("hexadecimal");
        let digest = digest.split(' ').next().expect("a digest");
        let content = match &attestation.content {
            Some(content) => content.clone(),
            None => der(&self.home, &attestation.structure(digest)),
        };
        let more: Vec<_> = attestation
            .more_arguments
            .iter()
            .map(String::as_str)
            .collect();
        let der = self.sign("rsm", &attestation.content_type, &content, &more);
        let certificate = fs::read(self.home.join("rsm.pem")).expect("a certificate");
        SignedMessage { der, certificate }
    }

    /// Writes `NAME.tal`.
    pub fn write_locator(&self, dir: &Path) {
        fs::create_dir_all(dir).expect("a directory for locators");
        run(
            &self.home,
            &[
                "x509", "-in", "ca.pem", "-noout", "-pubkey", "-out", "ca.pub",
            ],
        );
        let key = run(
            &self.home,
            &["pkey", "-pubin", "-in", "ca.pub", "-outform", "DER"],
        );
        let locator = format!("{}\n\n{}\n", self.uri, STANDARD.encode(key));
        fs::write(dir.join(format!("{}.tal", self.name)), locator).expect("a locator");
    }
}

/// What `openssl asn1parse -genconf` makes of a structure.
pub(crate) fn der(dir: &Path, structure: &str) -> Vec<u8> {
    let file = dir.join(format!("structure-{}", process::id()));
    fs::write(&file, structure).expect("a structure");
    let file = file.to_str().expect("a path is text");
    run(
        dir,
        &[
            "asn1parse",
            "-genconf",
            file,
            "-noout",
            "-out",
            "structure.der",
        ],
    );
    fs::read(dir.join("structure.der")).expect("DER")
}
