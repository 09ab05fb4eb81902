//! Who may call: accounts, their users and roles, and the temporary keys of assumed roles.
//!
//! Everything comes from the configuration and holds while the server runs. Temporary keys are not stored: the session
//! token says which role, until when and within which policy, and is sealed with a key of the installation; the secret
//! follows from the access key. So they survive a restart, cost nothing to give out, and end with their role.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use aws_lc_rs::{constant_time, hmac};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use campanile_meeting::ids::AccountId;
use serde::{Deserialize, Serialize};

use crate::iam::{Decision, Policy, Question, decide};
use crate::sigv4::{AuthError, Credentials, hex};

/// A session token holds a role's ARN, a name, and a policy of at most 2,048 characters.
const SESSION_TOKEN_BYTES_MAX: usize = 16 * 1024;

/// An account as configured.
#[derive(Clone, Debug)]
pub struct Account {
    /// Its id.
    pub id: AccountId,
    /// Who signs with keys of their own.
    pub users: Vec<User>,
    /// What they may assume.
    pub roles: Vec<RoleConfig>,
}

/// A user with a key.
#[derive(Clone, Debug)]
pub struct User {
    /// Names it in its ARN.
    pub name: String,
    /// Its key.
    pub credentials: Credentials,
    /// What it may do; without any, nothing.
    pub policies: Vec<Policy>,
}

/// A role as configured.
#[derive(Clone, Debug)]
pub struct RoleConfig {
    /// Names it in its ARN.
    pub name: String,
    /// Who may assume it.
    pub trust: Policy,
    /// What whoever has assumed it may do.
    pub policies: Vec<Policy>,
    /// The longest time that its keys may live.
    pub session_max_s: u64,
}

/// Someone who may call.
#[derive(Debug)]
pub struct Principal {
    /// Whose records they see.
    pub account: AccountId,
    /// Their name in messages and logs.
    pub arn: String,
    policies: Vec<Policy>,
}

/// A role that may be assumed.
#[derive(Debug)]
pub struct Role {
    principal: Principal,
    name: String,
    /// Who may assume it.
    pub trust: Policy,
    /// The longest time that its keys may live.
    pub session_max_s: u64,
}

impl Role {
    /// Its ARN.
    pub fn arn(&self) -> &str {
        &self.principal.arn
    }
}

/// A key and whose it is.
#[derive(Clone, Debug)]
pub struct Caller {
    credentials: Credentials,
    account: AccountId,
    /// The user, or `arn:aws:sts::<account>:assumed-role/<role>/<session>`.
    arn: String,
    grants: Grants,
    /// Temporary keys may do no more than this.
    session_policy: Option<Policy>,
}

#[derive(Clone, Debug)]
enum Grants {
    User(Arc<Principal>),
    Role(Arc<Role>),
}

impl Borrow<Credentials> for Caller {
    fn borrow(&self) -> &Credentials {
        &self.credentials
    }
}

impl Caller {
    /// Whose records they see.
    pub fn account(&self) -> AccountId {
        self.account
    }
    /// Their name in messages and logs.
    pub fn arn(&self) -> &str {
        &self.arn
    }
    /// The name of the key.
    pub fn access_key_id(&self) -> &str {
        &self.credentials.access_key_id
    }
    /// True for keys that AssumeRole gave.
    pub fn is_temporary(&self) -> bool {
        self.credentials.session_token.is_some()
    }

    /// Whether they may: what the user or role may, and for temporary keys the session's policy too.
    pub fn decide(&self, question: &Question<'_>) -> Decision {
        let own = decide(self.policies(), question);
        match (&self.session_policy, own) {
            (Some(policy), Decision::Allowed) => decide([policy], question),
            _ => own,
        }
    }

    /// Whether a decision depends on the tags of resources.
    pub fn looks_at_resource_tags(&self) -> bool {
        self.policies().iter().chain(&self.session_policy).any(Policy::looks_at_resource_tags)
    }

    fn policies(&self) -> &[Policy] {
        match &self.grants {
            Grants::User(principal) => &principal.policies,
            Grants::Role(role) => &role.principal.policies,
        }
    }
}

/// The installation's secret with which session tokens are sealed.
pub struct SessionKey(hmac::Key);

impl SessionKey {
    /// Derived from the installation's secret, for this use alone.
    pub fn derive(secret: &[u8; 32]) -> SessionKey {
        let master = hmac::Key::new(hmac::HMAC_SHA256, secret);
        SessionKey(hmac::Key::new(
            hmac::HMAC_SHA256,
            hmac::sign(&master, b"campanile session tokens").as_ref(),
        ))
    }

    fn secret_of(&self, access_key_id: &str) -> String {
        let tag = hmac::sign(&self.0, format!("secret of {access_key_id}").as_bytes());
        hex(&tag.as_ref()[..20])
    }

    fn seal(&self, claims: &Claims) -> String {
        let text = URL_SAFE_NO_PAD.encode(serde_json::to_vec(claims).expect("texts and a number"));
        let tag = hmac::sign(&self.0, text.as_bytes());
        format!("{text}.{}", URL_SAFE_NO_PAD.encode(tag))
    }

    fn open(&self, token: &str) -> Option<Claims> {
        if token.len() > SESSION_TOKEN_BYTES_MAX {
            return None;
        }
        let (text, tag) = token.split_once('.')?;
        let right = hmac::sign(&self.0, text.as_bytes());
        constant_time::verify_slices_are_equal(right.as_ref(), &URL_SAFE_NO_PAD.decode(tag).ok()?).ok()?;
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).ok()?).ok()
    }
}

impl fmt::Debug for SessionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<redacted>")
    }
}

/// What a session token says.
#[derive(Serialize, Deserialize)]
struct Claims {
    #[serde(rename = "k")]
    access_key_id: String,
    #[serde(rename = "r")]
    role: String,
    #[serde(rename = "n")]
    session: String,
    #[serde(rename = "e")]
    expires_unix_s: u64,
    #[serde(rename = "p", skip_serializing_if = "Option::is_none")]
    policy: Option<String>,
}

/// All who may call.
#[derive(Debug)]
pub struct Directory {
    keys: HashMap<String, Caller>,
    roles: HashMap<String, Arc<Role>>,
    session_key: SessionKey,
    /// The first key of the configuration: the one that `campanile dev` shows.
    first: Caller,
}

impl Directory {
    /// From the configuration.
    ///
    /// # Errors
    /// Says what is wrong: no key at all, or one twice.
    pub fn new(accounts: Vec<Account>, session_key: SessionKey) -> Result<Directory, String> {
        let (mut keys, mut roles, mut first) = (HashMap::new(), HashMap::new(), None);
        for account in accounts {
            for user in account.users {
                let arn = match user.name.as_str() {
                    "root" => format!("arn:aws:iam::{}:root", account.id),
                    name => format!("arn:aws:iam::{}:user/{name}", account.id),
                };
                let principal = Principal { account: account.id, arn: arn.clone(), policies: user.policies };
                let caller = Caller {
                    credentials: user.credentials,
                    account: account.id,
                    arn,
                    grants: Grants::User(Arc::new(principal)),
                    session_policy: None,
                };
                first.get_or_insert_with(|| caller.clone());
                let id = caller.access_key_id().to_owned();
                if keys.insert(id.clone(), caller).is_some() {
                    return Err(format!("two users have the access key {id}"));
                }
            }
            for role in account.roles {
                let arn = format!("arn:aws:iam::{}:role/{}", account.id, role.name);
                let principal = Principal { account: account.id, arn: arn.clone(), policies: role.policies };
                let RoleConfig { name, trust, session_max_s, .. } = role;
                let role = Arc::new(Role { principal, name, trust, session_max_s });
                if roles.insert(arn.clone(), role).is_some() {
                    return Err(format!("two roles have the ARN {arn}"));
                }
            }
        }
        let first = first.ok_or("no account has a user: nobody could call the API")?;
        Ok(Directory { keys, roles, session_key, first })
    }

    /// The first user of the configuration.
    pub fn first(&self) -> &Caller {
        &self.first
    }

    /// The key by which the first user signs.
    pub fn first_credentials(&self) -> &Credentials {
        &self.first.credentials
    }

    /// Whose key this is. That they have its secret is for the signature to show.
    pub fn find(
        &self,
        now_unix_s: u64,
        access_key_id: &str,
        session_token: Option<&str>,
    ) -> Result<Caller, AuthError> {
        let Some(token) = session_token else {
            return self.keys.get(access_key_id).cloned().ok_or(AuthError::Unrecognized);
        };
        let claims = self.session_key.open(token).filter(|claims| claims.access_key_id == access_key_id);
        let claims = claims.ok_or(AuthError::Unrecognized)?;
        if claims.expires_unix_s <= now_unix_s {
            return Err(AuthError::Expired);
        }
        let role = self.roles.get(&claims.role).ok_or(AuthError::Unrecognized)?;
        let policy = claims.policy.as_deref().map(Policy::parse).transpose();
        Ok(Caller {
            credentials: Credentials {
                access_key_id: access_key_id.to_owned(),
                secret_access_key: self.session_key.secret_of(access_key_id),
                session_token: Some(token.to_owned()),
            },
            account: role.principal.account,
            arn: assumed_arn(role, &claims.session),
            grants: Grants::Role(role.clone()),
            session_policy: policy.map_err(|_| AuthError::Unrecognized)?,
        })
    }

    /// A role by its ARN.
    pub fn role(&self, arn: &str) -> Option<&Arc<Role>> {
        self.roles.get(arn)
    }

    /// Temporary keys for a role, and the ARN under which they call. `unique` makes the access key.
    pub fn assume(
        &self,
        role: &Role,
        session: &str,
        policy: Option<String>,
        expires_unix_s: u64,
        unique: [u8; 8],
    ) -> (Credentials, String) {
        let access_key_id = format!("ASIA{}", hex(&unique).to_uppercase());
        let claims = Claims {
            access_key_id: access_key_id.clone(),
            role: role.arn().to_owned(),
            session: session.to_owned(),
            expires_unix_s,
            policy,
        };
        let credentials = Credentials {
            secret_access_key: self.session_key.secret_of(&access_key_id),
            session_token: Some(self.session_key.seal(&claims)),
            access_key_id,
        };
        (credentials, assumed_arn(role, session))
    }
}

fn assumed_arn(role: &Role, session: &str) -> String {
    format!("arn:aws:sts::{}:assumed-role/{}/{session}", role.principal.account, role.name)
}

/// Entry points for fuzzing: no bytes may make them panic.
pub mod fuzz {
    use super::*;

    /// A session token from a stranger: only what was sealed here opens.
    pub fn session_token(data: &[u8]) {
        let key = SessionKey::derive(&[7; 32]);
        assert!(key.open(&String::from_utf8_lossy(data)).is_none());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory(roles: &[&str]) -> Directory {
        let credentials = |id: &str| Credentials {
            access_key_id: id.into(),
            secret_access_key: "secret".into(),
            session_token: None,
        };
        let user = User {
            name: "ann".into(),
            credentials: credentials("AKIAANN"),
            policies: vec![Policy::managed("AdministratorAccess").unwrap()],
        };
        let trust = r#"{"Statement":{"Effect":"Allow","Action":"sts:AssumeRole","Principal":{"AWS":"111122223333"}}}"#;
        let role = |name: &&str| RoleConfig {
            name: (*name).into(),
            trust: Policy::parse_trust(trust).unwrap(),
            policies: vec![Policy::managed("AmazonChimeSDK").unwrap()],
            session_max_s: 3600,
        };
        let account = Account {
            id: "111122223333".parse().unwrap(),
            users: vec![user],
            roles: roles.iter().map(role).collect(),
        };
        Directory::new(vec![account], SessionKey::derive(&[1; 32])).unwrap()
    }

    fn asks(action: &str) -> Question<'_> {
        Question {
            action,
            resources: vec!["arn:aws:chime::111122223333:meeting/x".into()],
            resource_tags: vec![],
            request_tags: vec![],
            principal_arn: "",
            account: "111122223333".into(),
            region: "us-east-1",
        }
    }

    #[test]
    fn temporary_keys_are_the_roles_for_their_time() {
        let ours = directory(&["app", "other"]);
        let role = ours.role("arn:aws:iam::111122223333:role/app").unwrap();
        let (keys, arn) = ours.assume(role, "web", None, 1000, [1; 8]);
        assert_eq!(arn, "arn:aws:sts::111122223333:assumed-role/app/web");
        let token = keys.session_token.as_deref().unwrap();
        let caller = ours.find(999, &keys.access_key_id, Some(token)).unwrap();
        assert_eq!((caller.arn(), caller.is_temporary()), (arn.as_str(), true));
        let secret = &Borrow::<Credentials>::borrow(&caller).secret_access_key;
        assert_eq!(*secret, keys.secret_access_key);
        assert_eq!(caller.decide(&asks("chime:GetMeeting")), Decision::Allowed);
        assert_eq!(caller.decide(&asks("chime:UpdateAttendeeCapabilities")), Decision::NotAllowed);

        let refused = |directory: &Directory, now, id: &str, token: Option<&str>| {
            directory.find(now, id, token).map(|caller| caller.arn).unwrap_err()
        };
        assert_eq!(refused(&ours, 1000, &keys.access_key_id, Some(token)), AuthError::Expired);
        assert_eq!(refused(&ours, 0, &keys.access_key_id, None), AuthError::Unrecognized);
        assert_eq!(refused(&ours, 0, "AKIAANN", Some(token)), AuthError::Unrecognized);
        assert_eq!(refused(&ours, 0, "AKIABOB", None), AuthError::Unrecognized);
        assert_eq!(
            refused(&directory(&["other"]), 0, &keys.access_key_id, Some(token)),
            AuthError::Unrecognized
        );
        for place in 0..token.len() {
            let mut forged = token.as_bytes().to_vec();
            forged[place] = if forged[place] == b'A' { b'B' } else { b'A' };
            let forged = String::from_utf8(forged).unwrap();
            // The last character of base64 holds bits that nobody reads.
            if place + 1 < token.len() {
                assert!(ours.find(0, &keys.access_key_id, Some(&forged)).is_err(), "{place}");
            }
        }
    }

    #[test]
    fn a_session_policy_only_takes_away() {
        let ours = directory(&["app"]);
        let role = ours.role("arn:aws:iam::111122223333:role/app").unwrap();
        let policy =
            r#"{"Statement":{"Effect":"Allow","Resource":"*","Action":["chime:Get*","chime:Update*"]}}"#;
        let (keys, _) = ours.assume(role, "web", Some(policy.into()), 1000, [1; 8]);
        let caller = ours.find(0, &keys.access_key_id, keys.session_token.as_deref()).unwrap();
        assert_eq!(caller.decide(&asks("chime:GetMeeting")), Decision::Allowed);
        assert_eq!(caller.decide(&asks("chime:DeleteMeeting")), Decision::NotAllowed);
        assert_eq!(caller.decide(&asks("chime:UpdateAttendeeCapabilities")), Decision::NotAllowed);
    }

    #[test]
    fn secrets_stay_out_of_logs() {
        let ours = directory(&["app"]);
        assert!(!format!("{ours:?}").contains("\"secret\""), "{ours:?}");
    }
}
