//! The inputs of the fuzz targets in `fuzz/corpus`: those that the fuzzers begin with, and those that once showed a fault.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use super::simulation::Random;

#[path = "../../fuzz/src/bodies/mod.rs"]
mod bodies;

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz")
}

/// The names of the files in a folder, sorted.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder);
    let entries = entries.unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// One test for both, since all targets share one server.
#[test]
fn atk_201__every_input_of_the_fuzzers_and_small_changes_of_it_are_handled() {
    every_input();
    small_changes();
    std::fs::remove_dir_all(bodies::folder()).ok();
}

fn every_input() {
    let (mut faults, mut bytes) = (Vec::new(), 0);
    for (name, target) in bodies::ALL {
        let inputs = files(&fuzz().join("corpus").join(name));
        assert!(inputs.len() >= 5, "{name} begins with too little");
        for path in inputs {
            let input = std::fs::read(&path).unwrap();
            bytes += input.len();
            if catch_unwind(AssertUnwindSafe(|| target(&input))).is_err() {
                faults.push(path);
            }
        }
    }
    assert!(faults.is_empty(), "{faults:?}");
    assert!(
        bytes < 1 << 20,
        "{bytes} bytes are too many for the repository"
    );
}

#[test]
fn every_fuzz_target_is_built_and_run_by_these_tests() {
    let manifest = std::fs::read_to_string(fuzz().join("Cargo.toml")).unwrap();
    let files = files(&fuzz().join("fuzz_targets"));
    let files: Vec<_> = files
        .iter()
        .map(|path| path.file_stem().unwrap().to_str().unwrap())
        .collect();
    assert_eq!(files, bodies::ALL.map(|(name, _)| name));
    for name in files {
        assert!(
            manifest.contains(&format!("name = \"{name}\"")),
            "{name} is not built"
        );
    }
}

/// A small change of an input, as fuzzers make them: this is what can be done without their tools.
fn mutated(random: &mut Random, inputs: &[Vec<u8>]) -> Vec<u8> {
    let mut input = inputs[random.below(inputs.len())].clone();
    for _ in 0..=random.below(4) {
        let at = random.below(input.len() + 1);
        match random.below(6) {
            0 if at < input.len() => input[at] = random.next() as u8,
            1 if at < input.len() => input[at] ^= 1 << random.below(8),
            2 => input.insert(at, random.of(b"\"\\{}[]:,*/%&=.-\0\x7f0e")),
            3 => drop(input.drain(at..(at + random.below(9)).min(input.len()))),
            4 => {
                let other = &inputs[random.below(inputs.len())];
                let from = random.below(other.len() + 1);
                let to = (from + random.below(64)).min(other.len());
                drop(input.splice(at..at, other[from..to].iter().copied()));
            }
            _ => {
                let to = (at + random.below(32)).min(input.len());
                let part = input[at..to].to_vec();
                drop(input.splice(at..at, part));
            }
        }
    }
    input
}

/// `CARNET_MUTATIONS` says how many changes of the inputs each target gets; `CARNET_SEED` begins with another seed.
fn small_changes() {
    let number = |name: &str| {
        std::env::var(name)
            .ok()
            .and_then(|value| value.parse().ok())
    };
    let (changes, seed) = (
        number("CARNET_MUTATIONS").unwrap_or(100),
        number("CARNET_SEED"),
    );
    let wanted = std::env::var("CARNET_TARGET").ok();
    let mut faults = Vec::new();
    for (name, target) in bodies::ALL {
        if wanted.as_ref().is_some_and(|wanted| wanted != name) {
            continue;
        }
        let inputs = files(&fuzz().join("corpus").join(name));
        let inputs: Vec<_> = inputs
            .iter()
            .map(|path| std::fs::read(path).unwrap())
            .collect();
        let mut random = Random::new(seed.unwrap_or(1));
        for _ in 0..changes {
            let input = mutated(&mut random, &inputs);
            if catch_unwind(AssertUnwindSafe(|| target(&input))).is_err() {
                faults.push((name, carnet_jose::base64(&input)));
                break;
            }
        }
    }
    assert!(faults.is_empty(), "inputs in base64: {faults:?}");
}
