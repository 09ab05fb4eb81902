//! The configuration of `campanile serve`: one TOML file that says where to serve, who may call and how much.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use campanile_meeting::ids::AccountId;
use campanile_wire::api::MEDIA_REGIONS;
use serde::Deserialize;

use crate::config::{Config, Control, MediaOver, Quotas};
use crate::directory::{Account, RoleConfig, User};
use crate::http::HttpLimits;
use crate::iam::{NotAPolicy, Policy};
use crate::sigv4::Credentials;
use crate::store::Retention;
use crate::throttle::Rate;

/// Shortest secret that is not a joke: AWS's own have 40 characters.
const SECRET_CHARS_MIN: usize = 32;

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct File {
    listen: Option<SocketAddr>,
    media: Option<SocketAddr>,
    media_public: Option<SocketAddr>,
    #[serde(default)]
    media_over: MediaOver,
    data_dir: Option<PathBuf>,
    public_address: Option<String>,
    tls_cert: Option<PathBuf>,
    tls_key: Option<PathBuf>,
    #[serde(default)]
    tls_local: bool,
    #[serde(default)]
    insecure: bool,
    region: Option<String>,
    media_region: Option<String>,
    drain_seconds: Option<u64>,
    #[serde(default)]
    quotas: FileQuotas,
    #[serde(default)]
    events: FileEvents,
    #[serde(default)]
    http: FileHttp,
    #[serde(default)]
    account: Vec<FileAccount>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct FileQuotas {
    /// 0 switches the limit off.
    requests_per_second: Option<f64>,
    burst: Option<f64>,
    meetings: Option<usize>,
    attendees: Option<u16>,
    replicas: Option<usize>,
    videos: Option<usize>,
    content_shares: Option<usize>,
    voices: Option<usize>,
    max_attendees: Option<usize>,
    idle_seconds: Option<u64>,
    lifetime_seconds: Option<u64>,
    one_attendee_per_user: Option<bool>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct FileHttp {
    connections: Option<u32>,
    connections_per_address: Option<u32>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct FileEvents {
    keep: Option<u64>,
    keep_hours: Option<u64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct FileAccount {
    id: AccountId,
    #[serde(default)]
    user: Vec<FileUser>,
    #[serde(default)]
    role: Vec<FileRole>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct FileUser {
    name: String,
    access_key_id: String,
    secret_access_key: String,
    #[serde(default)]
    policies: Vec<String>,
    policy: Option<String>,
    policy_file: Option<PathBuf>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct FileRole {
    name: String,
    trust: Option<String>,
    trust_file: Option<PathBuf>,
    #[serde(default)]
    policies: Vec<String>,
    policy: Option<String>,
    policy_file: Option<PathBuf>,
    max_session_seconds: Option<u64>,
}

/// Reads the file.
///
/// # Errors
/// Says what is wrong and where, without showing the line: there might be a secret on it.
pub fn read(path: &Path) -> Result<Config, String> {
    let in_file = |why: String| format!("{}: {why}", path.display());
    let text = std::fs::read_to_string(path).map_err(|error| in_file(error.to_string()))?;
    parse(&text, path.parent().unwrap_or(Path::new("."))).map_err(in_file)
}

/// Reads the text of such a file; other files that it names are looked for in `directory`.
pub fn parse(text: &str, directory: &Path) -> Result<Config, String> {
    let file: File = toml::from_str(text).map_err(|error| {
        let line =
            error.span().map_or(0, |span| text[..span.start.min(text.len())].matches('\n').count() + 1);
        format!("line {line}: {}", error.message())
    })?;
    let standard = Config::local(".campanile");
    let region = file.region.unwrap_or_else(|| standard.region.clone());
    let media_region = file.media_region.unwrap_or_else(|| region.clone());
    if !MEDIA_REGIONS.contains(&media_region.as_str()) {
        return Err(format!("media-region must be one of {}", MEDIA_REGIONS.join(", ")));
    }
    let mut accounts = Vec::new();
    let mut seen = HashSet::new();
    for account in file.account {
        let id = account.id;
        if !seen.insert(id) {
            return Err(format!("account {id} is there twice"));
        }
        accounts.push(read_account(account, directory).map_err(|why| format!("account {id}: {why}"))?);
    }
    let within = |path: PathBuf| directory.join(path);
    Ok(Config {
        listen: file.listen.unwrap_or(SocketAddr::from(([127, 0, 0, 1], 8080))),
        media: file.media,
        media_public: file.media_public,
        media_over: file.media_over,
        data_dir: within(file.data_dir.unwrap_or(standard.data_dir)),
        public_address: file.public_address,
        tls_cert: file.tls_cert.map(within),
        tls_key: file.tls_key.map(within),
        tls_local: file.tls_local,
        insecure: file.insecure,
        drain_seconds: file.drain_seconds.unwrap_or(standard.drain_seconds),
        voices: None,
        videos: None,
        max_attendees: None,
        region,
        control: Control {
            accounts: Some(accounts),
            media_region: Some(media_region),
            quotas: read_quotas(&file.quotas)?,
            events: read_events(&file.events),
            http: read_http(&file.http)?,
        },
        json: false,
    })
}

fn read_quotas(file: &FileQuotas) -> Result<Quotas, String> {
    let standard = Quotas { rate: Some(Rate::default()), ..Quotas::default() };
    let rate = Rate::default();
    let per_second = file.requests_per_second.unwrap_or(rate.per_second);
    let burst = file.burst.unwrap_or(rate.burst);
    if !(per_second >= 0.0 && per_second.is_finite() && burst >= 1.0 && burst.is_finite()) {
        return Err("quotas: requests-per-second must be 0 (no limit) or more, burst 1 or more".into());
    }
    let mut records = standard.records.clone();
    records.meetings_per_account = file.meetings.unwrap_or(records.meetings_per_account);
    records.attendees_per_meeting = file.attendees.unwrap_or(records.attendees_per_meeting);
    records.replicas_per_primary = file.replicas.unwrap_or(records.replicas_per_primary);
    records.idle_ms = file.idle_seconds.map_or(records.idle_ms, |s| s.saturating_mul(1000));
    records.lifetime_ms = file.lifetime_seconds.map_or(records.lifetime_ms, |s| s.saturating_mul(1000));
    records.one_attendee_per_user = file.one_attendee_per_user.unwrap_or(records.one_attendee_per_user);
    let mut media = standard.media;
    media.cameras = file.videos.unwrap_or(media.cameras);
    media.content_shares = file.content_shares.unwrap_or(media.content_shares);
    media.voices = file.voices.unwrap_or(media.voices);
    media.attendees = file.max_attendees.unwrap_or(media.attendees);
    if media.voices == 0 {
        return Err("quotas: voices must be 1 or more: how many are heard at once".into());
    }
    if media.attendees == 0 {
        return Err("quotas: max-attendees must be 1 or more: how many may be in all meetings at once".into());
    }
    Ok(Quotas { rate: (per_second > 0.0).then_some(Rate { per_second, burst }), records, media })
}

fn read_http(file: &FileHttp) -> Result<HttpLimits, String> {
    let standard = HttpLimits::default();
    let connections = file.connections.unwrap_or(standard.connections);
    let connections_per_address = file.connections_per_address.unwrap_or((connections / 2).max(1));
    if connections == 0 || connections_per_address == 0 {
        return Err("http: connections and connections-per-address must be 1 or more".into());
    }
    Ok(HttpLimits { connections, connections_per_address, ..standard })
}

fn read_events(file: &FileEvents) -> Retention {
    let standard = Retention::default();
    let age = file.keep_hours.map(|hours| Duration::from_secs(hours.saturating_mul(3600)));
    Retention { events: file.keep.unwrap_or(standard.events), age: age.unwrap_or(standard.age) }
}

fn read_account(account: FileAccount, directory: &Path) -> Result<Account, String> {
    let mut users = Vec::new();
    for user in account.user {
        let name = read_name(&user.name)?;
        let of = |why: String| format!("user {name}: {why}");
        let id = &user.access_key_id;
        if !(16..=128).contains(&id.len()) || !id.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_') {
            return Err(of("access-key-id must have 16 to 128 letters and digits".into()));
        }
        if id.starts_with("ASIA") {
            return Err(of("access keys that begin with ASIA are temporary ones".into()));
        }
        let secret = &user.secret_access_key;
        let variety = secret.chars().collect::<HashSet<_>>().len();
        if secret.len() < SECRET_CHARS_MIN || !secret.bytes().all(|c| c.is_ascii_graphic()) || variety < 8 {
            return Err(of(format!(
                "secret-access-key must have at least {SECRET_CHARS_MIN} characters, chosen at random"
            )));
        }
        let policies = read_policies(&user.policies, user.policy, user.policy_file, directory).map_err(of)?;
        let credentials = Credentials {
            access_key_id: user.access_key_id,
            secret_access_key: user.secret_access_key,
            session_token: None,
        };
        users.push(User { name, credentials, policies });
    }
    let mut roles = Vec::new();
    for role in account.role {
        let name = read_name(&role.name)?;
        let of = |why: String| format!("role {name}: {why}");
        let trust = text_or_file("trust", role.trust, role.trust_file, directory).map_err(of)?;
        let trust = trust.ok_or_else(|| of("trust or trust-file says who may assume it".into()))?;
        let trust = Policy::parse_trust(&trust).map_err(|why: NotAPolicy| of(format!("trust: {why}")))?;
        let policies = read_policies(&role.policies, role.policy, role.policy_file, directory).map_err(of)?;
        let session_max_s = role.max_session_seconds.unwrap_or(3600);
        if !(900..=43_200).contains(&session_max_s) {
            return Err(of("max-session-seconds must be between 900 and 43200".into()));
        }
        roles.push(RoleConfig { name, trust, policies, session_max_s });
    }
    Ok(Account { id: account.id, users, roles })
}

/// The names that IAM admits.
fn read_name(name: &str) -> Result<String, String> {
    let legal = |c: char| c.is_ascii_alphanumeric() || "+=,.@_-".contains(c);
    if (1..=64).contains(&name.len()) && name.chars().all(legal) {
        return Ok(name.to_owned());
    }
    Err(format!("the name {name:?} must have 1 to 64 letters, digits or +=,.@_-"))
}

fn read_policies(
    managed: &[String],
    text: Option<String>,
    file: Option<PathBuf>,
    directory: &Path,
) -> Result<Vec<Policy>, String> {
    let mut policies = Vec::new();
    for name in managed {
        let policy = Policy::managed(name).ok_or_else(|| {
            format!("there is no policy {name}; built in are AmazonChimeSDK and AdministratorAccess")
        })?;
        policies.push(policy);
    }
    if let Some(text) = text_or_file("policy", text, file, directory)? {
        policies.push(Policy::parse(&text).map_err(|why: NotAPolicy| format!("policy: {why}"))?);
    }
    if policies.is_empty() {
        return Err("it may do nothing: give policies = [\"AmazonChimeSDK\"], policy or policy-file".into());
    }
    Ok(policies)
}

fn text_or_file(
    name: &str,
    text: Option<String>,
    file: Option<PathBuf>,
    directory: &Path,
) -> Result<Option<String>, String> {
    match (text, file) {
        (Some(_), Some(_)) => Err(format!("{name} and {name}-file exclude each other")),
        (text, None) => Ok(text),
        (None, Some(file)) => {
            let path = directory.join(file);
            let text = std::fs::read_to_string(&path);
            text.map(Some).map_err(|error| format!("{}: {error}", path.display()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const USER: &str = r#"
[[account]]
id = "111122223333"
[[account.user]]
name = "ann"
access-key-id = "AKIAEXAMPLEEXAMPLE00"
secret-access-key = "abcdefghijklmnopqrstuvwxyz0123456789ABCD"
policies = ["AmazonChimeSDK"]
"#;

    fn check(text: &str, problem: Option<&str>) {
        match (parse(text, Path::new("/nowhere")), problem) {
            (Ok(_), None) => {}
            (Err(why), Some(problem)) => assert!(why.contains(problem), "{why}"),
            (outcome, _) => panic!("{text}: {outcome:?}"),
        }
    }

    #[test]
    fn users_need_keys_worth_having_and_something_they_may_do() {
        check(USER, None);
        check(&USER.replace("\"111122223333\"", "\"1111\""), Some("12 decimal digits"));
        check(&USER.replace("AKIAEXAMPLEEXAMPLE00", "AKIA"), Some("user ann: access-key-id"));
        check(&USER.replace("AKIAEXAMPLE", "ASIAEXAMPLE"), Some("temporary"));
        check(&USER.replace("ABCD", "ü"), Some("secret-access-key"));
        check(&USER.replace("abcdefghijklmnopqrst", ""), Some("secret-access-key"));
        check(&USER.replace("abcdefghijklmnopqrstuvwxyz0123456789ABCD", &"a".repeat(40)), Some("at random"));
        check(&USER.replace("AmazonChimeSDK", "NoSuch"), Some("no policy NoSuch"));
        check(&USER.replace("[\"AmazonChimeSDK\"]", "[]"), Some("may do nothing"));
        check(&format!("{USER}policy = '''{{'''"), Some("not a policy"));
        check(&format!("{USER}policy-file = 'x'"), Some("/nowhere/x"));
        check(&format!("{USER}nonsense = 1"), Some("unknown field"));
        check(&format!("{USER}{USER}"), Some("twice"));
    }

    #[test]
    fn a_mistake_does_not_show_a_secret() {
        let broken = USER.replace("CD\"", "CD");
        let why = parse(&broken, Path::new("/")).unwrap_err();
        assert!(why.starts_with("line 7") && !why.contains("abcdef"), "{why}");
    }

    #[test]
    fn quotas_are_the_documented_ones_unless_said_otherwise() {
        let quotas = |text: &str| parse(&format!("{text}\n{USER}"), Path::new("/")).unwrap().control.quotas;
        let standard = quotas("");
        assert_eq!(standard.rate, Some(Rate { per_second: 10.0, burst: 20.0 }));
        assert_eq!((standard.records.meetings_per_account, standard.media.cameras), (250, 25));
        let other = quotas("[quotas]\nrequests-per-second = 0\nvideos = 16\nidle-seconds = 1\nmeetings = 9");
        assert_eq!((other.rate, other.media.cameras, other.records.idle_ms), (None, 16, 1000));
        assert_eq!(other.records.meetings_per_account, 9);
        check("[quotas]\nburst = 0", Some("burst"));
        assert_eq!((standard.media.voices, quotas("[quotas]\nvoices = 250").media.voices), (8, 250));
        check("[quotas]\nvoices = 0", Some("voices"));
        let limited = quotas("[quotas]\nmax-attendees = 2000").media.attendees;
        assert_eq!((standard.media.attendees, limited), (usize::MAX, 2000));
        check("[quotas]\nmax-attendees = 0", Some("max-attendees"));
    }

    #[test]
    fn connections_and_events_are_bounded_as_the_file_says() {
        let control = |text: &str| parse(&format!("{text}\n{USER}"), Path::new("/")).unwrap().control;
        let standard = control("");
        assert_eq!((standard.http.connections, standard.http.connections_per_address), (16_384, 8_192));
        assert_eq!(standard.events, Retention::default());
        let other = control("[http]\nconnections = 10\n[events]\nkeep = 5\nkeep-hours = 1");
        assert_eq!((other.http.connections, other.http.connections_per_address), (10, 5));
        assert_eq!(other.events, Retention { events: 5, age: Duration::from_secs(3600) });
        check("[http]\nconnections = 0", Some("1 or more"));
    }

    #[test]
    fn roles_say_who_may_assume_them() {
        let role = r#"
[[account.role]]
name = "app"
policies = ["AmazonChimeSDK"]
"#;
        let trust = r#"trust = '{"Statement":{"Effect":"Allow","Action":"sts:AssumeRole","Principal":"*"}}'"#;
        check(&format!("{USER}{role}"), Some("role app: trust"));
        check(&format!("{USER}{role}{trust}"), None);
        check(&format!("{USER}{role}{trust}\nmax-session-seconds = 899"), Some("900"));
        check(&format!("media-region = 'nowhere'\n{USER}"), Some("media-region"));
    }
}
