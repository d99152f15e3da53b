//! Builds a toy RPKI in a folder, has its network attest a key set, and prints the attested set:
//! `cargo run -p carnet-toy-rpki --example attest -- FOLDER SET > attested.json`.
//!
//! The set has to be written as it is signed: names sorted at every depth, without white space. The
//! network holds AS64496.

use std::path::Path;

use carnet_toy_rpki::{AUDIENCE, Attestation, CONTENT_TYPE, PURPOSE, ToyRpki};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, set] = arguments.as_slice() else {
        eprintln!("usage: attest FOLDER SET");
        std::process::exit(2);
    };
    let folder = std::path::absolute(folder).expect("a path");
    let set = std::fs::read_to_string(set).expect("a key set");
    let set = set.trim_end();
    let rest = set.strip_prefix('{').expect("a JSON object");
    std::fs::create_dir_all(&folder).expect("a folder");
    let toy = ToyRpki::within(Path::new(&folder));
    let message = toy.network.attest(set.as_bytes(), &Attestation::default());
    println!("{{\"rpki_attestation\":\"{}\",{rest}", message.base64url());
    eprintln!(
        "[rpki]\nrepository = {{ layout = \"rpki-client\", dir = {:?} }}\ntal_dir = {:?}\n\
         rsm = {{ content_type = \"{CONTENT_TYPE}\", audience = \"{AUDIENCE}\", purpose = \"{PURPOSE}\" }}",
        toy.cache(),
        toy.tal_dir()
    );
}
