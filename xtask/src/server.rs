//! A server of our own in a directory of its own: one account with a user who may do everything and a role that may do what
//! AWS's own policy allows.

use std::fs;
use std::path::PathBuf;

use crate::Failure;
use crate::process::{Helper, campanile, command, target};

/// The user's keys. They open nothing but servers that live as long as one run.
pub(crate) const ACCESS_KEY: &str = "AKIAXTASKXTASKXTASK0";
pub(crate) const SECRET_KEY: &str = "xtask0123456789abcdefghijklmnopqrstuvwxyz";
/// The role.
pub(crate) const ROLE: &str = "arn:aws:iam::111122223333:role/story";

const CONFIGURATION: &str = r#"
listen = "127.0.0.1:0"
media = "127.0.0.1:0"
data-dir = "data"

[[account]]
id = "111122223333"

[[account.user]]
name = "story"
access-key-id = "AKIAXTASKXTASKXTASK0"
secret-access-key = "xtask0123456789abcdefghijklmnopqrstuvwxyz"
policies = ["AdministratorAccess"]

[[account.role]]
name = "story"
policies = ["AmazonChimeSDK"]
trust = '{"Statement":{"Effect":"Allow","Action":"sts:AssumeRole","Principal":{"AWS":"111122223333"}}}'
"#;

/// It ends, and its directory goes, when this is dropped.
pub(crate) struct Server {
    _process: Helper,
    _data: TempDir,
    ready: String,
}

impl Server {
    /// Starts the binary of one profile under the quotas of a `[quotas]` section, on one core if told which.
    pub(crate) fn start(profile: &str, quotas: &str, core: Option<u32>) -> Result<Server, Failure> {
        let data = TempDir::new()?;
        let file = data.0.join("campanile.toml");
        let text = format!("{CONFIGURATION}\n[quotas]\n{quotas}\n");
        fs::write(&file, text).map_err(|error| format!("{}: {error}", file.display()))?;
        let mut serve = match core {
            None => command(campanile(profile), &[]),
            Some(core) => {
                let mut pinned = command("taskset", &["--cpu-list", &core.to_string()]);
                pinned.arg(campanile(profile));
                pinned
            }
        };
        let (process, ready) = Helper::start(serve.args(["serve", "--json", "--config"]).arg(&file))?;
        Ok(Server { _process: process, _data: data, ready })
    }

    /// One text of the line that it printed when it was ready.
    pub(crate) fn field(&self, name: &str) -> Result<String, Failure> {
        json_text(&self.ready, name).ok_or_else(|| format!("`--json` printed no {name}: {}", self.ready))
    }
}

/// A directory of ours that goes away with us.
struct TempDir(PathBuf);

impl TempDir {
    fn new() -> Result<TempDir, Failure> {
        use std::sync::atomic::{AtomicU32, Ordering};
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("data-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = target().join("xtask").join(name);
        fs::create_dir_all(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(TempDir(path))
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The value of one text field in a flat JSON object whose values hold no escapes, such as `campanile serve --json`
/// prints. Anything more would deserve a parser.
fn json_text(json: &str, field: &str) -> Option<String> {
    let (_, rest) = json.split_once(&format!("\"{field}\""))?;
    let value = rest.trim_start().strip_prefix(':')?.trim_start().strip_prefix('"')?;
    Some(value.split_once('"')?.0.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ready_line_is_read() {
        let line = r#"{"api":"http://127.0.0.1:1","page": "http://x/","pid":7}"#;
        assert_eq!(json_text(line, "api").as_deref(), Some("http://127.0.0.1:1"));
        assert_eq!(json_text(line, "page").as_deref(), Some("http://x/"));
        assert_eq!(json_text(line, "pid"), None);
        assert_eq!(json_text(line, "absent"), None);
    }

    #[test]
    fn the_configuration_has_the_keys_that_stories_sign_with() {
        for text in
            [ACCESS_KEY, SECRET_KEY, ROLE.split(':').nth(4).unwrap(), ROLE.rsplit('/').next().unwrap()]
        {
            assert!(CONFIGURATION.contains(&format!("\"{text}\"")), "{text}");
        }
    }
}
