//! Generates the list of built-in profiles from `profiles/*.toml`, so that adding a platform takes
//! one new file and no code.

use std::fmt::Write as _;
use std::path::PathBuf;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    #[expect(
        clippy::disallowed_methods,
        reason = "cargo talks to build scripts through the environment"
    )]
    let (root, out) = (
        std::env::var("CARGO_MANIFEST_DIR")?,
        std::env::var("OUT_DIR")?,
    );
    let folder = PathBuf::from(root).join("profiles");
    println!("cargo::rerun-if-changed={}", folder.display());
    let mut files: Vec<PathBuf> = std::fs::read_dir(&folder)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()?;
    files.retain(|path| {
        path.extension()
            .is_some_and(|extension| extension == "toml")
    });
    files.sort();
    let mut list = String::from("&[\n");
    for path in files {
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        writeln!(
            list,
            "    ({name:?}, include_str!({:?})),",
            path.display().to_string()
        )?;
    }
    list.push(']');
    std::fs::write(PathBuf::from(out).join("profiles.rs"), list)?;
    Ok(())
}
