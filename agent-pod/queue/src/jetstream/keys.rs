//! The keys of a broker that Docket looks after: an operator, whom the servers trust; under it an account a namespace and one
//! for the servers themselves; under these their users.
//!
//! Only the operator's key is kept. All others follow from it and from names, so there is no list of them that could be lost,
//! and making them again gives the same. Who has the operator's key has them all.
//!
//! Must not know where keys are kept.

use nkeys::{KeyPair, KeyPairType};
use serde_json::{Value, json};

use super::{access::Role, jwt};

/// For what keys are derived; never to be changed, or all documents are out of reach.
const CONTEXT: &str = "docket.dev 2026 keys of a NATS broker";

/// An operator's key that cannot be used; whoever wrote it down can fix it.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// It is no seed of a key.
    #[error("it is no seed of an nkey")]
    Read(#[source] nkeys::error::Error),
    /// It is one of something else.
    #[error("it is the seed of another kind than an operator: those of operators begin with SO")]
    Kind,
}

/// The keys of a broker.
#[derive(Clone)]
pub struct Keys {
    operator: KeyPair,
    seed: [u8; 32],
}

/// An account of a namespace.
pub struct Account {
    /// Its public key, which is its name at the broker.
    pub name: String,
    /// What makes it known to the servers: see [`super::push`].
    pub token: String,
    prefix: String,
    key: KeyPair,
    seed: [u8; 32],
}

/// A user of an account.
pub struct User {
    /// The token, which is no secret.
    pub token: String,
    /// The text of a `.creds` file: the token and the key that goes with it.
    pub creds: String,
}

impl Keys {
    /// New keys, from the system's source of random numbers.
    pub fn generate() -> Self {
        let seed = KeyPair::new_operator().seed().expect("a new key pair has a private key");
        Self::from_seed(&seed).expect("it is the seed of an operator")
    }

    /// The keys of an operator's seed (`SO…`).
    pub fn from_seed(text: &str) -> Result<Self, KeysError> {
        let operator = KeyPair::from_seed(text.trim()).map_err(KeysError::Read)?;
        if operator.key_pair_type() != KeyPairType::Operator {
            return Err(KeysError::Kind);
        }
        let (_, seed) = nkeys::decode_seed(text.trim()).map_err(KeysError::Read)?;
        Ok(Self { operator, seed })
    }

    /// The operator's seed: the secret of all.
    pub fn seed(&self) -> String {
        self.operator.seed().expect("it was made of a seed")
    }

    /// What a server's configuration file needs to trust these keys. Accounts come to the servers by [`super::push`], so that no
    /// server is started again or told to read its files for a new one; each keeps them in `folder`, its own.
    pub fn server_configuration(&self, folder: &str) -> String {
        let system = self.system();
        let claims = json!({"type": "operator", "version": 2, "system_account": system.public_key()});
        let operator = jwt::sign(&self.operator, &self.operator.public_key(), "docket", claims);
        let name = system.public_key();
        // The servers' own account has no streams.
        let account = jwt::sign(&self.operator, &name, "servers", account_claims(0));
        format!(
            "operator: \"{operator}\"\n\
             system_account: \"{name}\"\n\
             resolver: {{type: full, dir: \"{folder}\", allow_delete: false, interval: \"2m\", timeout: \"2s\"}}\n\
             resolver_preload: {{\"{name}\": \"{account}\"}}\n"
        )
    }

    /// The user who makes accounts known to the servers, and may do nothing else.
    pub fn pusher(&self) -> User {
        let publish = vec![super::accounts::UPDATE.to_owned()];
        let subscribe = vec![format!("{}.>", super::accounts::INBOX)];
        user(&self.system(), &derive(&self.seed, &["user", "pusher"]), "pusher", Some((publish, subscribe)))
    }

    /// The account of a namespace, where names begin with `prefix`.
    pub fn account(&self, prefix: &str) -> Account {
        let seed = derive(&self.seed, &["account", prefix]);
        let key = pair(KeyPairType::Account, seed);
        let token = jwt::sign(&self.operator, &key.public_key(), prefix, account_claims(-1));
        Account { name: key.public_key(), token, prefix: prefix.to_owned(), key, seed }
    }

    fn system(&self) -> KeyPair {
        pair(KeyPairType::Account, derive(&self.seed, &["system account"]))
    }
}

impl Account {
    /// The user that processes of a role are.
    pub fn user(&self, role: &Role) -> User {
        let name = role.name();
        let permissions = role.permissions(&self.prefix).map(|allowed| (allowed.publish, allowed.subscribe));
        user(&self.key, &derive(&self.seed, &["user", &name]), &name, permissions)
    }
}

fn user(account: &KeyPair, seed: &[u8; 32], name: &str, permissions: Option<(Vec<String>, Vec<String>)>) -> User {
    let key = pair(KeyPairType::User, *seed);
    let mut claims = json!({"type": "user", "version": 2, "subs": -1, "data": -1, "payload": -1});
    let (publish, subscribe) = match permissions {
        Some((publish, subscribe)) => (json!({"allow": publish}), json!({"allow": subscribe})),
        None => (json!({}), json!({})),
    };
    claims["pub"] = publish;
    claims["sub"] = subscribe;
    let token = jwt::sign(account, &key.public_key(), name, claims);
    let secret = key.seed().expect("it was made of a seed");
    let creds = format!(
        "-----BEGIN NATS USER JWT-----\n{token}\n------END NATS USER JWT------\n\n\
         -----BEGIN USER NKEY SEED-----\n{secret}\n------END USER NKEY SEED------\n"
    );
    User { token, creds }
}

/// An account without limits but for what it stores; `stored` is 0 for nothing and -1 for as much as the servers have.
fn account_claims(stored: i64) -> Value {
    json!({
        "type": "account",
        "version": 2,
        "limits": {
            "subs": -1, "data": -1, "payload": -1, "conn": -1, "wildcards": true,
            "imports": 0, "exports": 0, "leaf": 0,
            "mem_storage": stored, "disk_storage": stored, "streams": stored, "consumer": stored,
        },
        "default_permissions": {"pub": {}, "sub": {}},
    })
}

/// A seed that follows from another one and from words.
fn derive(seed: &[u8; 32], words: &[&str]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_derive_key(CONTEXT);
    hasher.update(seed);
    for word in words {
        // With its length: no two lists of words are the same bytes.
        hasher.update(&(word.len() as u64).to_le_bytes());
        hasher.update(word.as_bytes());
    }
    *hasher.finalize().as_bytes()
}

fn pair(kind: KeyPairType, seed: [u8; 32]) -> KeyPair {
    KeyPair::new_from_raw(kind, seed).expect("any 32 bytes are a key")
}

impl std::fmt::Debug for Keys {
    // Secrets stay out of logs.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Keys").field("operator", &self.operator.public_key()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_follows_from_the_operators_seed() {
        let keys = Keys::generate();
        let again = Keys::from_seed(&format!("{}\n", keys.seed())).expect("a seed");
        assert_eq!(keys.server_configuration("/data"), again.server_configuration("/data"));
        let (one, other) = (keys.account("docket-a"), again.account("docket-a"));
        assert_eq!((&one.name, &one.token), (&other.name, &other.token));
        let role = Role::Agents { pool: "readers", orders: "_orders/" };
        assert_eq!(one.user(&role).creds, other.user(&role).creds);
        assert_ne!(one.name, keys.account("docket-b").name);
        assert_ne!(one.user(&role).creds, one.user(&Role::Operator).creds);
        assert_ne!(Keys::generate().account("docket-a").name, one.name);
    }

    #[test]
    fn what_is_no_operators_seed_is_refused_and_secrets_stay_out_of_logs() {
        assert!(matches!(Keys::from_seed("nonsense"), Err(KeysError::Read(_))));
        let user = KeyPair::new_user().seed().expect("a seed");
        assert!(matches!(Keys::from_seed(&user), Err(KeysError::Kind)));
        let keys = Keys::generate();
        assert!(!format!("{keys:?}").contains(&keys.seed()));
        assert!(!keys.server_configuration("/data").contains(&keys.seed()));
    }
}
