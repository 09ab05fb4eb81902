//! Runs a target over its corpus and over seeded mutations of it: the part of fuzzing that any toolchain can do, the
//! same each time.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};

use rand_chacha::ChaCha8Rng;
use rand_core::{RngCore, SeedableRng};

use crate::{TARGETS, target};

/// Inputs grow by mutation, but not without end.
const INPUT_BYTES_MAX: usize = 64 * 1024;
/// Changes made to one input at once.
const CHANGES_MAX: u32 = 6;
/// What counts and lengths go wrong at.
const EDGES: [u8; 8] = [0, 1, 0x0f, 0x7f, 0x80, 0xbf, 0xfe, 0xff];

fn fuzz_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz")
}

/// Tries everything there is for one target. What fails is written to a file, the path of which is printed.
pub(crate) fn check(name: &str) {
    let folder = fuzz_folder().join("corpus").join(name);
    let corpus = read(&folder);
    assert!(!corpus.is_empty(), "{} has no inputs", folder.display());
    for (path, input) in &corpus {
        attempt(name, input, &path.display().to_string());
    }
    for seed in 0..target(name).mutations {
        attempt(name, &mutated(&corpus, seed), &format!("seed {seed}"));
    }
}

fn read(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("a readable folder").path()).collect();
    files.sort();
    let input = |path: PathBuf| {
        let bytes = fs::read(&path).expect("a readable file");
        (path, bytes)
    };
    files.into_iter().map(input).collect()
}

fn attempt(name: &str, input: &[u8], origin: &str) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| crate::run(name, input))) {
        let file = std::env::temp_dir().join(format!("campanile-{name}-{}", std::process::id()));
        let kept =
            fs::write(&file, input).map_or_else(|error| error.to_string(), |()| file.display().to_string());
        eprintln!(
            "{name} failed on {origin}; the input is in {kept}; once mended, keep it in fuzz/corpus/{name}"
        );
        resume_unwind(panic);
    }
}

/// An input from the corpus with a few random changes, all of which follow from `seed`.
fn mutated(corpus: &[(PathBuf, Vec<u8>)], seed: u64) -> Vec<u8> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut below = |bound: usize| rng.next_u32() as usize % bound.max(1);
    let mut input = corpus[below(corpus.len())].1.clone();
    for _ in 0..=below(CHANGES_MAX as usize) {
        let at = below(input.len());
        let longest = if below(4) == 0 { input.len() } else { 8 };
        let length = 1 + below(longest);
        let end = (at + length).min(input.len());
        match below(8) {
            0 if !input.is_empty() => input[at] ^= 1 << below(8),
            1 if !input.is_empty() => input[at] = below(256) as u8,
            2 if !input.is_empty() => input[at] = EDGES[below(EDGES.len())],
            3 => input.truncate(at),
            4 => drop(input.drain(at..end)),
            5 => {
                let again = input[at..end].to_vec();
                input.splice(at..at, again);
            }
            6 => {
                let other = &corpus[below(corpus.len())].1;
                let from = below(other.len());
                let until = (from + length).min(other.len());
                input.splice(at..end, other[from..until].iter().copied());
            }
            _ => {
                let new: Vec<u8> = (0..length.min(16)).map(|_| below(256) as u8).collect();
                input.splice(at..at, new);
            }
        }
    }
    input.truncate(INPUT_BYTES_MAX);
    input
}

#[test]
fn every_target_has_a_binary_and_every_corpus_a_target() {
    let names = |folder: &str| {
        let mut names: Vec<String> = fs::read_dir(fuzz_folder().join(folder))
            .expect("a readable folder")
            .map(|entry| entry.expect("a readable folder").path())
            .map(|path| path.file_stem().expect("a name").to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    };
    let listed: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
    assert_eq!(names("fuzz_targets"), listed);
    assert_eq!(names("corpus"), listed);
}

#[test]
fn a_seed_always_makes_the_same_input() {
    let corpus = [(PathBuf::new(), (0..100).collect::<Vec<u8>>())];
    for seed in 0..100 {
        assert_eq!(mutated(&corpus, seed), mutated(&corpus, seed));
    }
    assert_ne!(mutated(&corpus, 1), mutated(&corpus, 2));
}
