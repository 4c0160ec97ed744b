//! Join tokens: good once, for a time, for a role. Only a hash of the secret is kept.

use dunlin_link::{certificate::Fingerprint, clock::UnixTime};
use dunlin_protocol::{FleetId, Identity, NodeId, Role, Secret, TokenId};
use rusqlite::{OptionalExtension, Transaction, params};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use thiserror::Error;

use super::{
    Catalog, CatalogError, Labels, NewCertificate,
    members::{admit, exists, keep_certificate, name, role, seconds, time},
};

/// Tokens that are kept, used and unused.
const MAX_TOKENS: u32 = 4_096;
/// How long a token is shown in lists after its end.
const SHOWN_SECONDS: u64 = 7 * 24 * 3_600;

/// For whom a token is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    pub role: Role,
    /// With a name, the token also replaces a member that has it: a board that was set up anew.
    pub name: Option<NodeId>,
    /// Of the member that it makes.
    pub labels: Labels,
}

/// A token that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    pub id: TokenId,
    pub secret: Secret,
    pub scope: Scope,
    pub created: UnixTime,
    pub expires: UnixTime,
}

/// A token as it is listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRecord {
    pub id: TokenId,
    pub role: Role,
    pub name: Option<NodeId>,
    pub created: UnixTime,
    pub expires: UnixTime,
    pub used: Option<UnixTime>,
    pub used_by: Option<NodeId>,
}

/// Somebody has joined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redeemed {
    pub identity: Identity,
    pub certificate: NewCertificate,
}

/// Why a token does not let one in. The text goes to whoever tried.
#[derive(Debug, Error)]
pub enum TokenRefusal {
    /// Also where the secret is wrong: that there is such a token is nobody's business.
    #[error("this fleet has no such token; ask an operator for `dunlin token new`")]
    Unknown,
    #[error("the token was used before; each is good once: ask an operator for `dunlin token new`")]
    Used,
    #[error("the token ran out {minutes} min ago; ask an operator for `dunlin token new`")]
    Expired { minutes: u64 },
    #[error(
        "this fleet has a {role} {name} already; choose another name, or have a token made for this one: `dunlin token new --name {name}`"
    )]
    NameTaken { role: Role, name: NodeId },
    #[error(transparent)]
    Catalog(#[from] CatalogError),
}

impl Catalog {
    /// Keeps a new token, and forgets those that ran out long ago.
    ///
    /// # Errors
    /// [`CatalogError::TooMany`].
    pub async fn grant_token(&self, grant: Grant) -> Result<(), CatalogError> {
        self.transact(move |transaction| {
            let past = seconds(grant.created).saturating_sub_unsigned(SHOWN_SECONDS);
            transaction.execute("DELETE FROM tokens WHERE expires < ?1", [past])?;
            let tokens: u32 = transaction.query_row("SELECT count(*) FROM tokens", [], |row| row.get(0))?;
            if tokens >= MAX_TOKENS {
                return Err(CatalogError::TooMany { kind: "tokens", limit: MAX_TOKENS });
            }
            transaction.execute(
                "INSERT INTO tokens VALUES (?1, ?2, ?3, ?4, ?5, ?6, NULL, NULL)",
                params![
                    grant.id.0.cast_signed(),
                    hash(&grant.secret),
                    grant.scope.role.name(),
                    grant.scope.name.as_ref().map(NodeId::as_str),
                    seconds(grant.created),
                    seconds(grant.expires)
                ],
            )?;
            for (label, value) in grant.scope.labels {
                transaction.execute(
                    "INSERT INTO token_labels VALUES (?1, ?2, ?3)",
                    params![grant.id.0.cast_signed(), label, value],
                )?;
            }
            Ok(())
        })
        .await
    }

    /// Uses a token up, and keeps the certificate that `make` makes for its holder, in one transaction: of two who come with
    /// the same token one is let in, and a token for which no certificate was made is still good. Once that is kept,
    /// `replaced` has the certificates of the member whose place it took, whoever waits.
    ///
    /// # Errors
    /// [`TokenRefusal`].
    pub async fn redeem(
        &self,
        fleet: FleetId,
        (id, secret): (TokenId, Secret),
        wish: Option<NodeId>,
        now: UnixTime,
        make: impl FnOnce(&Identity) -> Result<NewCertificate, CatalogError> + Send + 'static,
        replaced: impl FnOnce(&[Fingerprint]) + Send + 'static,
    ) -> Result<Redeemed, TokenRefusal> {
        let redeem = move |transaction: &Transaction<'_>| {
            let identity = match check(transaction, fleet, id, &secret, wish, now) {
                Ok(identity) => identity,
                Err(TokenRefusal::Catalog(error)) => return Err(error),
                Err(refusal) => return Ok(Err(refusal)),
            };
            let Identity { role, name, .. } = &identity;
            transaction.execute(
                "UPDATE tokens SET used = ?2, used_by = ?3 WHERE id = ?1",
                params![id.0.cast_signed(), seconds(now), name.as_str()],
            )?;
            let before = admit(transaction, *role, name, id, now)?;
            let certificate = make(&identity)?;
            keep_certificate(transaction, *role, name, &certificate)?;
            Ok(Ok((Redeemed { identity, certificate }, before)))
        };
        let tell = |redeemed: Result<(Redeemed, Vec<Fingerprint>), TokenRefusal>| {
            redeemed.map(|(redeemed, before)| {
                replaced(&before);
                redeemed
            })
        };
        self.transact_then(redeem, tell).await?
    }

    /// All tokens, the newest first.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub async fn tokens(&self) -> Result<Vec<TokenRecord>, CatalogError> {
        self.transact(|transaction| {
            let sql = "SELECT id, role, name, created, expires, used, used_by FROM tokens
                       ORDER BY created DESC, id";
            let mut statement = transaction.prepare(sql)?;
            let mut rows = statement.query([])?;
            let mut tokens = Vec::new();
            while let Some(row) = rows.next()? {
                let named = row.get_ref(2)?.as_str_or_null().is_ok_and(|text| text.is_some());
                let used = row.get::<_, Option<i64>>(5)?.map(time);
                tokens.push(TokenRecord {
                    id: TokenId(row.get::<_, i64>(0)?.cast_unsigned()),
                    role: role(row, 1)?,
                    name: named.then(|| name(row, 2)).transpose()?,
                    created: time(row.get(3)?),
                    expires: time(row.get(4)?),
                    used,
                    used_by: used.map(|_| name(row, 6)).transpose()?,
                });
            }
            Ok(tokens)
        })
        .await
    }

    /// Takes a token back.
    ///
    /// # Errors
    /// [`CatalogError::Missing`].
    pub async fn remove_token(&self, id: TokenId) -> Result<(), CatalogError> {
        self.transact(move |transaction| {
            match transaction.execute("DELETE FROM tokens WHERE id = ?1", [id.0.cast_signed()])? {
                0 => Err(CatalogError::missing("token", &id)),
                _ => Ok(()),
            }
        })
        .await
    }
}

/// Who the holder of the token becomes.
fn check(
    transaction: &Transaction<'_>,
    fleet: FleetId,
    id: TokenId,
    secret: &Secret,
    wish: Option<NodeId>,
    now: UnixTime,
) -> Result<Identity, TokenRefusal> {
    let sql = "SELECT secret_hash, role, name, expires, used FROM tokens WHERE id = ?1";
    let found = transaction
        .query_row(sql, [id.0.cast_signed()], |row| {
            Ok((
                row.get::<_, [u8; 32]>(0)?,
                row.get::<_, String>(1)?,
                row.get::<_, Option<String>>(2)?,
                row.get::<_, i64>(3)?,
                row.get::<_, Option<i64>>(4)?,
            ))
        })
        .optional()
        .map_err(CatalogError::from)?;
    let (kept, role, named, expires, used) = found.ok_or(TokenRefusal::Unknown)?;
    if !bool::from(kept.ct_eq(&hash(secret))) {
        return Err(TokenRefusal::Unknown);
    }
    if used.is_some() {
        return Err(TokenRefusal::Used);
    }
    if seconds(now) > expires {
        let minutes = seconds(now).abs_diff(expires) / 60;
        return Err(TokenRefusal::Expired { minutes });
    }
    let unreadable = |error: &dyn std::fmt::Display| CatalogError::Unreadable(format!("token {id}: {error}"));
    let role: Role = role.parse().map_err(|error| unreadable(&error))?;
    let named = named.map(|name| name.parse::<NodeId>().map_err(|error| unreadable(&error))).transpose()?;
    if let Some(name) = named {
        return Ok(Identity { fleet, role, name });
    }
    let name = match wish {
        Some(name) => name,
        None => format!("{role}-{id}").parse().map_err(|error| unreadable(&error))?,
    };
    if exists(transaction, role, &name)? {
        return Err(TokenRefusal::NameTaken { role, name });
    }
    Ok(Identity { fleet, role, name })
}

fn hash(secret: &Secret) -> [u8; 32] {
    Sha256::digest(secret.0).into()
}
