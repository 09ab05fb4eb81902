//! Embeds the page that `web/` builds, when it has been built: `cargo build` alone needs no Node.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

fn main() {
    let web = Path::new(&env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it")).join("../../web");
    let dist = web.join("dist");
    println!("cargo::rerun-if-changed=build.rs");
    // A path that does not exist would make every build run this again, so watch `web` until the page is built.
    println!("cargo::rerun-if-changed={}", if dist.exists() { &dist } else { &web }.display());
    let mut files = Vec::new();
    collect(&dist, &mut files);
    files.sort();

    let mut table = String::from("&[\n");
    for file in &files {
        let name = file.strip_prefix(&dist).expect("collected below dist");
        let path = format!("/{}", name.display()).replace('\\', "/");
        let source = fs::canonicalize(file).expect("it was just listed");
        writeln!(table, "    ({path:?}, include_bytes!({source:?})),").expect("a String takes all");
    }
    table.push_str("]\n");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it")).join("page_files.rs");
    fs::write(out, table).expect("cargo's own directory is writable");
}

fn collect(directory: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() { collect(&path, files) } else { files.push(path) }
    }
}
