//! What running and testing need beforehand: tools from Debian packages, npm and Python packages, the built page.
//! Missing packages are installed when we may, else the one line to type is printed. Everything done once leaves a
//! stamp, so that doing it again costs nothing.

use std::collections::hash_map::DefaultHasher;
use std::fs;
use std::hash::{Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::Failure;
use crate::process::{command, root, run, run_quietly, target};

/// A program that must be there.
pub(crate) struct Tool {
    /// What to run to see that it is there; what it prints holds its version.
    probe: &'static [&'static str],
    /// The Debian packages that bring it.
    packages: &'static [&'static str],
    /// The oldest version that will do, major and minor.
    oldest: (u32, u32),
    /// Where to get it when Debian's own is too old.
    remedy: &'static str,
}

const CC: Tool =
    Tool { probe: &["cc", "--version"], packages: &["build-essential"], oldest: (0, 0), remedy: "" };
const CXX: Tool =
    Tool { probe: &["c++", "--version"], packages: &["build-essential"], oldest: (0, 0), remedy: "" };
const CMAKE: Tool =
    Tool { probe: &["cmake", "--version"], packages: &["cmake"], oldest: (3, 12), remedy: "" };
const NODE: Tool = Tool {
    probe: &["node", "--version"],
    packages: &["nodejs", "npm"],
    oldest: (20, 0),
    remedy: "Install Node.js 20 or newer (nodejs.org, nvm, or your distribution's newer release).",
};
const NPM: Tool = Tool { probe: &["npm", "--version"], packages: &["npm"], oldest: (0, 0), remedy: "" };
const PYTHON: Tool = Tool {
    probe: &["python3", "--version"],
    packages: &["python3", "python3-venv"],
    oldest: (3, 11),
    remedy: "Install Python 3.11 or newer (python.org, pyenv, or your distribution's newer release).",
};
const VENV: Tool =
    Tool { probe: &["python3", "-c", "import ensurepip, venv"], packages: &["python3-venv"], ..PYTHON };
const CERTUTIL: Tool =
    Tool { probe: &["certutil", "-H"], packages: &["libnss3-tools"], oldest: (0, 0), remedy: "" };
const IP: Tool = Tool { probe: &["ip", "-V"], packages: &["iproute2"], oldest: (0, 0), remedy: "" };

/// What benchmarks need beside.
pub(crate) const JANUS: Tool =
    Tool { probe: &["janus", "--version"], packages: &["janus"], oldest: (0, 0), remedy: "" };
pub(crate) const ESPEAK: Tool =
    Tool { probe: &["espeak-ng", "--version"], packages: &["espeak-ng"], oldest: (0, 0), remedy: "" };
pub(crate) const VALGRIND: Tool =
    Tool { probe: &["valgrind", "--version"], packages: &["valgrind"], oldest: (0, 0), remedy: "" };
pub(crate) const SOX: Tool =
    Tool { probe: &["sox", "--version"], packages: &["sox"], oldest: (0, 0), remedy: "" };

/// What building mediasoup's worker needs beyond the programs of the list below, and the libraries that `build.sh` brings.
const PERL: Tool = Tool { probe: &["perl", "--version"], packages: &["perl"], oldest: (0, 0), remedy: "" };
const ABSEIL: Tool = Tool {
    probe: &["pkg-config", "--modversion", "absl_flat_hash_map"],
    packages: &["pkg-config", "libabsl-dev"],
    oldest: (0, 0),
    remedy: "",
};

/// What building and running need. Rust itself is checked by cargo, through `rust-version`.
pub(crate) const FOR_DEV: &[Tool] = &[CC, CXX, CMAKE, NODE, NPM];
/// What the tests need beyond that. `certutil` and `ip` serve one story, which says so when they are missing.
pub(crate) const FOR_TEST: &[Tool] =
    &[CC, CXX, CMAKE, NODE, NPM, PYTHON, Tool { oldest: (0, 0), ..VENV }, CERTUTIL, IP];

impl Tool {
    fn name(&self) -> &'static str {
        self.probe[0]
    }

    /// The version found, or `None` when the tool is missing. Tools that print none count as 0.0.
    fn version(&self) -> Option<(u32, u32)> {
        let output = Command::new(self.probe[0]).args(&self.probe[1..]).stdin(Stdio::null()).output().ok()?;
        // certutil prints its help with a status of its own; that it ran at all is enough.
        if !output.status.success() && ["python3", "pkg-config"].contains(&self.name()) {
            return None;
        }
        Some(first_version(&String::from_utf8_lossy(&output.stdout)))
    }
}

/// The first `number.number` in a text.
fn first_version(text: &str) -> (u32, u32) {
    for word in text.split(|c: char| !c.is_ascii_digit() && c != '.') {
        let mut parts = word.split('.').map(str::parse::<u32>);
        if let (Some(Ok(major)), Some(Ok(minor))) = (parts.next(), parts.next()) {
            return (major, minor);
        }
    }
    (0, 0)
}

/// Where Chromium is: `CHROMIUM`, or what is on the path.
pub(crate) fn chromium() -> Option<PathBuf> {
    program("CHROMIUM", &["chromium", "chromium-browser", "google-chrome"])
}

/// Where Firefox is: `FIREFOX`, or what is on the path.
pub(crate) fn firefox() -> Option<PathBuf> {
    program("FIREFOX", &["firefox-esr", "firefox"])
}

/// The second engine of the browser stories. Without it, one story is skipped, and says so.
pub(crate) fn second_browser() {
    if firefox().is_none()
        && let Err(failure) = install(&["firefox-esr"])
    {
        println!("Without Firefox, its call with Chromium is not held. {failure}");
    }
}

fn program(variable: &str, names: &[&str]) -> Option<PathBuf> {
    if let Some(path) = std::env::var_os(variable) {
        return Some(path.into());
    }
    let path = std::env::var_os("PATH")?;
    let files = std::env::split_paths(&path).flat_map(|dir| names.iter().map(move |name| dir.join(name)));
    files.into_iter().find(|file| file.is_file())
}

/// Sees to it that the tools are there, and Chromium too if wanted.
pub(crate) fn tools(wanted: &[Tool], browser: bool) -> Result<(), Failure> {
    let mut packages: Vec<&str> = Vec::new();
    for tool in wanted.iter().filter(|tool| tool.version().is_none()) {
        packages
            .extend(tool.packages.iter().filter(|package| !packages.contains(package)).collect::<Vec<_>>());
    }
    if browser && chromium().is_none() {
        packages.push("chromium");
    }
    if !packages.is_empty() {
        install(&packages)?;
    }
    for tool in wanted {
        let found =
            tool.version().ok_or_else(|| format!("`{}` is still missing. {}", tool.name(), tool.remedy))?;
        if found < tool.oldest {
            let (major, minor) = tool.oldest;
            return Err(format!(
                "`{}` is version {}.{}, but {major}.{minor} or newer is needed. {}",
                tool.name(),
                found.0,
                found.1,
                tool.remedy
            ));
        }
    }
    Ok(())
}

fn install(packages: &[&str]) -> Result<(), Failure> {
    let line = format!("sudo apt-get install -y --no-install-recommends {}", packages.join(" "));
    let root_here = run_quietly(Command::new("id").arg("-u")).is_ok_and(|id| id.trim() == "0");
    let apt_here = Command::new("apt-get").arg("--version").stdout(Stdio::null()).status().is_ok();
    if !root_here || !apt_here {
        return Err(format!("Some tools are missing. Install them, then try again:\n\n    {line}\n"));
    }
    println!("installing {}", packages.join(" "));
    run_quietly(command("apt-get", &["update"]).env("DEBIAN_FRONTEND", "noninteractive"))?;
    let mut apt = command("apt-get", &["install", "-y", "--no-install-recommends"]);
    run_quietly(apt.args(packages).env("DEBIAN_FRONTEND", "noninteractive"))?;
    Ok(())
}

/// npm packages of one folder, exactly as its lock file says; does nothing while they stand.
pub(crate) fn npm_packages(folder: &Path) -> Result<(), Failure> {
    let state = fingerprint(&[folder.join("package.json"), folder.join("package-lock.json")])?;
    once(&folder.join("node_modules/.campanile"), &state, || {
        println!("installing npm packages of {}", shown(folder));
        run_quietly(command("npm", &["ci", "--no-audit", "--no-fund"]).current_dir(folder)).map(drop)
    })
}

/// The page that the binary serves, built anew when its sources changed.
pub(crate) fn web_page() -> Result<(), Failure> {
    let web = root().join("web");
    npm_packages(&web)?;
    let sources =
        ["src", "public", "build.mjs", "package.json", "package-lock.json"].map(|path| web.join(path));
    let state = fingerprint(&sources)?;
    if !web.join("dist/app.js").is_file() {
        let _ = fs::remove_file(stamp("web"));
    }
    once(&stamp("web"), &state, || {
        println!("building the page");
        run(command("node", &["build.mjs"]).current_dir(&web))
    })
}

/// The page that browser stories drive; cheap enough to be built every time.
pub(crate) fn test_page() -> Result<(), Failure> {
    run(command("node", &["build.mjs", "--test"]).current_dir(root().join("web")))
}

/// A Python environment of our own with what the SDK stories need; returns its interpreter.
pub(crate) fn python(requirements: &Path) -> Result<PathBuf, Failure> {
    let venv = target().join("venv");
    let python = venv.join("bin/python");
    once(&venv.join(".campanile"), &fingerprint(&[requirements.to_path_buf()])?, || {
        println!("installing Python packages of {}", shown(requirements));
        run_quietly(command("python3", &["-m", "venv", "--clear"]).arg(&venv))?;
        let mut pip =
            command(&python, &["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"]);
        run_quietly(pip.arg(requirements)).map(drop)
    })?;
    Ok(python)
}

/// mediasoup's worker and what drives it, built in a folder of their own from packages; which folder.
pub(crate) fn mediasoup() -> Result<PathBuf, Failure> {
    let (folder, sources) = (target().join("mediasoup"), root().join("bench/mediasoup"));
    let stamp = folder.join(".campanile");
    once(&stamp, &fingerprint(&[sources.join("build.sh"), sources.join("subprojects")])?, || {
        tools(&[CC, CXX, CMAKE, NODE, NPM, VENV, PERL, ABSEIL], false)?;
        // What was built in another way goes; what a run has left half done stays, and is gone on with.
        if stamp.is_file() {
            fs::remove_dir_all(&folder).map_err(|error| error.to_string())?;
        }
        println!("building mediasoup's worker in {}, which takes about a quarter of an hour", shown(&folder));
        run(Command::new(sources.join("build.sh")).arg(&folder))
    })?;
    Ok(folder)
}

fn stamp(name: &str) -> PathBuf {
    target().join("xtask").join(name)
}

/// Does something unless its stamp says that it was done in this very state.
fn once(stamp: &Path, state: &str, work: impl FnOnce() -> Result<(), Failure>) -> Result<(), Failure> {
    if fs::read_to_string(stamp).is_ok_and(|last| last == state) {
        return Ok(());
    }
    work()?;
    let written = stamp.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| fs::write(stamp, state));
    written.map_err(|error| format!("{}: {error}", stamp.display()))
}

/// A text that changes when the content of these files (and of folders, all that is in them) changes.
fn fingerprint(paths: &[PathBuf]) -> Result<String, Failure> {
    fn add(path: &Path, hasher: &mut DefaultHasher) -> std::io::Result<()> {
        path.hash(hasher);
        if path.is_dir() {
            let mut inside =
                fs::read_dir(path)?.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>()?;
            inside.sort();
            return inside.iter().try_for_each(|entry| add(entry, hasher));
        }
        fs::read(path)?.hash(hasher);
        Ok(())
    }
    let mut hasher = DefaultHasher::new();
    for path in paths {
        add(path, &mut hasher).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(format!("{:016x}", hasher.finish()))
}

fn shown(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: (u32, u32)) {
        assert_eq!(first_version(text), expected, "{text}");
    }

    #[test]
    fn versions_are_read_from_what_tools_print() {
        check("v20.20.2", (20, 20));
        check("cmake version 3.25.1\n", (3, 25));
        check("Python 3.11.7", (3, 11));
        check("cc (Debian 12.2.0-14+deb12u1) 12.2.0", (12, 2));
        check("ip utility, iproute2-6.1.0, libbpf 1.1.0", (6, 1));
        check("no number", (0, 0));
    }
}
