//! Generates the lists of built-in profiles (`profiles/*.toml`) and of the platforms and clients of
//! snippets (`snippets/*/*.toml`), so that adding a platform takes new files and no code.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    #[expect(
        clippy::disallowed_methods,
        reason = "cargo talks to build scripts through the environment"
    )]
    let (root, out) = (
        std::env::var("CARGO_MANIFEST_DIR")?,
        std::env::var("OUT_DIR")?,
    );
    let (root, out) = (PathBuf::from(root), PathBuf::from(out));
    list(&root.join("profiles"), &out)?;
    list(&root.join("snippets/platforms"), &out)?;
    list(&root.join("snippets/clients"), &out)
}

/// Writes the names and texts of the `.toml` files in a folder into `FOLDER.rs`.
fn list(folder: &Path, out: &Path) -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed={}", folder.display());
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)?
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
    let name = folder.file_name().unwrap_or_default();
    std::fs::write(out.join(name).with_extension("rs"), list)?;
    Ok(())
}
