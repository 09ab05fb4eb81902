//! What one installation keeps to itself: its keys, its credentials and the directory that holds them.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

use aws_lc_rs::rand;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use campanile_meeting::ids::AccountId;
use campanile_meeting::registry::JoinTokenKey;
use serde::{Deserialize, Serialize};

use crate::directory::SessionKey;
use crate::sigv4::Credentials;

/// Name of the file, in the data directory, readable by its owner alone.
const FILE: &str = "installation.json";

/// The account that development credentials belong to, one that AWS's own documentation uses in examples.
const DEV_ACCOUNT: &str = "111122223333";

/// An installation's secrets and the caller it knows. No `Debug`: it would show them.
pub struct Installation {
    /// From which join tokens follow.
    pub join_token_key: JoinTokenKey,
    /// With which temporary keys are sealed.
    pub session_key: SessionKey,
    /// By which callers sign, unless a configuration lists others.
    pub credentials: Credentials,
    /// Whose records those callers see.
    pub account: AccountId,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    account_id: AccountId,
    access_key_id: String,
    secret_access_key: String,
    join_token_key: String,
}

impl Installation {
    /// Reads what the data directory keeps, or makes it up on first use.
    ///
    /// # Errors
    /// When the file cannot be read or written, or is damaged: it is not replaced then, for every join token and
    /// credential given out would be void.
    pub fn open(data_dir: &Path) -> io::Result<Installation> {
        let path = data_dir.join(FILE);
        let stored: Stored = match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(io::Error::other)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let stored = Stored::generate()?;
                write_private(&path, &serde_json::to_vec_pretty(&stored).map_err(io::Error::other)?)?;
                stored
            }
            Err(error) => return Err(error),
        };
        let key = URL_SAFE_NO_PAD.decode(&stored.join_token_key).map_err(io::Error::other)?;
        let key = key.try_into().map_err(|_| io::Error::other("join_token_key must have 32 bytes"))?;
        Ok(Installation {
            join_token_key: JoinTokenKey::new(&key),
            session_key: SessionKey::derive(&key),
            credentials: Credentials {
                access_key_id: stored.access_key_id,
                secret_access_key: stored.secret_access_key,
                session_token: None,
            },
            account: stored.account_id,
        })
    }
}

impl Stored {
    fn generate() -> io::Result<Stored> {
        Ok(Stored {
            account_id: DEV_ACCOUNT.parse().expect("it has 12 digits"),
            // 20 characters, as AWS's own.
            access_key_id: format!("AKIA{}", crate::sigv4::hex(&random::<8>()?).to_uppercase()),
            // 40 characters, as AWS's own; none that a shell or an option parser could take for its own.
            secret_access_key: crate::sigv4::hex(&random::<20>()?),
            join_token_key: URL_SAFE_NO_PAD.encode(random::<32>()?),
        })
    }
}

/// Bytes from the operating system.
pub(crate) fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    rand::fill(&mut bytes).map_err(|_| io::Error::other("the system gives no random bytes"))?;
    Ok(bytes)
}

/// Makes the data directory, for its owner alone.
pub fn create_data_dir(data_dir: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(data_dir)
}

/// Writes a file that only its owner may read. It is there whole or not at all, whenever the power fails.
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let unfinished = path.with_extension("new");
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&unfinished, path)?;
    File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
}
