//! What an authority publishes: CRLs, manifests, and what is revoked by them.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use crate::authority::{Authority, der};
use crate::holdings::{Holdings, Window};
use crate::message::SignedMessage;
use crate::openssl::{DAY, generalized, now, run};

impl Authority {
    /// Writes CRL and manifest anew; both are current within the window.
    pub fn publish(&self, window: &Window) {
        self.publish_crl(window);
        self.publish_manifest(window);
    }

    pub fn publish_crl(&self, window: &Window) {
        self.write_configuration("");
        run(
            &self.home,
            &[
                "ca",
                "-gencrl",
                "-config",
                "ca.cnf",
                "-keyfile",
                "ca.key",
                "-cert",
                "ca.pem",
                "-crlexts",
                "crl",
                "-crl_lastupdate",
                &generalized(window.from),
                "-crl_nextupdate",
                &generalized(window.until),
                "-out",
                "crl.pem",
            ],
        );
        let crl = self.crl();
        let crl = crl.to_str().expect("a path is text");
        run(
            &self.home,
            &["crl", "-in", "crl.pem", "-outform", "DER", "-out", crl],
        );
    }

    /// Lists every file of the folder.
    pub fn publish_manifest(&self, window: &Window) {
        let sia = format!(
            "subjectInfoAccess = 1.3.6.1.5.5.7.48.11;URI:{}{}.mft\n",
            self.folder_uri(),
            self.name
        );
        let extensions = self.ee_extensions(&Holdings::inherit(), &sia);
        self.issue_leaf("mft", &extensions, window);
        let number = fs::read_to_string(self.home.join("manifestnumber")).expect("a number");
        let number: u32 = number.trim().parse().expect("a number");
        fs::write(self.home.join("manifestnumber"), (number + 1).to_string()).expect("a file");
        let mut list = String::new();
        let mut entries = String::new();
        for (index, file) in self.published_files().into_iter().enumerate() {
            let name = file
                .file_name()
                .and_then(|name| name.to_str())
                .expect("a name");
            let digest = run(
                &self.home,
                &["dgst", "-sha256", "-r", file.to_str().expect("a path")],
            );
            let digest = String::from_utf8(digest).expect("hexadecimal");
            let digest = digest.split(' ').next().expect("a digest");
            let _ = writeln!(list, "e{index} = SEQUENCE:entry{index}");
            let _ = writeln!(
                entries,
                "[entry{index}]\nname = IA5STRING:{name}\nhash = FORMAT:HEX,BITSTRING:{digest}"
            );
        }
        let structure = format!(
            "asn1 = SEQUENCE:manifest\n[manifest]\nnumber = INTEGER:{number}\n\
             this = GENERALIZEDTIME:{}\nnext = GENERALIZEDTIME:{}\nalgorithm = OID:sha256\n\
             files = SEQUENCE:list\n[list]\n{list}{entries}",
            generalized(window.from),
            generalized(window.until)
        );
        let content = der(&self.home, &structure);
        let signed = self.sign("mft", "1.2.840.113549.1.9.16.1.26", &content, &[]);
        fs::write(self.manifest(), signed).expect("a manifest");
    }

    fn published_files(&self) -> Vec<PathBuf> {
        let manifest = self.manifest();
        let mut files: Vec<_> = fs::read_dir(self.folder())
            .expect("a folder of the repository")
            .map(|entry| entry.expect("a file").path())
            .filter(|path| *path != manifest && path.is_file())
            .collect();
        files.sort();
        files
    }

    /// Revokes the certificate of a message. It counts once the authority has published anew.
    pub fn revoke(&self, message: &SignedMessage) {
        self.revoke_pem(&message.certificate);
    }

    pub fn revoke_authority(&self, authority: &Self) {
        self.revoke_pem(&fs::read(authority.home.join("ca.pem")).expect("a certificate"));
    }

    pub fn revoke_manifest(&self) {
        self.revoke_pem(&fs::read(self.home.join("mft.pem")).expect("a certificate"));
    }

    fn revoke_pem(&self, certificate: &[u8]) {
        self.write_configuration("");
        fs::write(self.home.join("revoked.pem"), certificate).expect("a certificate");
        run(
            &self.home,
            &[
                "ca",
                "-config",
                "ca.cnf",
                "-keyfile",
                "ca.key",
                "-cert",
                "ca.pem",
                "-revoke",
                "revoked.pem",
            ],
        );
    }

    /// Puts so many revoked certificates into the database, none of which was ever issued. They are in
    /// the CRL once the authority has published anew.
    pub fn revoke_imagined(&self, count: u32) {
        let (expires, revoked) = (generalized(now() + DAY), generalized(now() - DAY));
        let lines = (0..count).fold(String::new(), |mut lines, number| {
            let serial = 0x7000_0000 + number;
            // OpenSSL's database has years of two digits.
            let _ = writeln!(
                lines,
                "R\t{}\t{}\t{serial:08X}\tunknown\t/CN=imagined",
                &expires[2..],
                &revoked[2..]
            );
            lines
        });
        let path = self.home.join("index.txt");
        let known = fs::read_to_string(&path).expect("a database");
        fs::write(path, known + &lines).expect("a database");
    }
}
