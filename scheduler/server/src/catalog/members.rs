//! Members of the fleet, their certificates, and who is denied.

use std::{collections::BTreeMap, time::Duration};

use dunlin_link::{
    certificate::{Fingerprint, RENEWABLE},
    clock::UnixTime,
};
use dunlin_protocol::{NodeId, Role, TokenId};
use rusqlite::{Row, Transaction, params};

use super::{Catalog, CatalogError};

/// Certificates of one member that are good for anything: a renewal every 4.7 days makes 8 of them.
const MAX_CERTIFICATES: u32 = 32;

/// Labels with their values.
pub type Labels = BTreeMap<String, String>;

/// Somebody who joined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    pub role: Role,
    pub name: NodeId,
    pub joined: UnixTime,
    pub denied: Option<UnixTime>,
    /// Those that its token gave it.
    pub labels: Labels,
}

/// A certificate that was just made; who holds it is decided before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewCertificate {
    pub der: Vec<u8>,
    pub fingerprint: Fingerprint,
    pub issued: UnixTime,
    pub expires: UnixTime,
}

impl Catalog {
    /// Keeps a further certificate for whoever holds the one with `fingerprint`, made by `make` in the same transaction;
    /// nothing where that one, or the member, is denied or gone.
    ///
    /// # Errors
    /// [`CatalogError`], also those of `make`.
    pub async fn renew(
        &self,
        fingerprint: Fingerprint,
        make: impl FnOnce() -> Result<NewCertificate, CatalogError> + Send + 'static,
    ) -> Result<Option<NewCertificate>, CatalogError> {
        self.transact(move |transaction| {
            let sql = "SELECT role, name FROM certificates JOIN members USING (role, name)
                       WHERE fingerprint = ?1 AND certificates.denied IS NULL AND members.denied IS NULL";
            let mut statement = transaction.prepare_cached(sql)?;
            let mut rows = statement.query([fingerprint.0])?;
            let Some(row) = rows.next()? else {
                return Ok(None);
            };
            let certificate = make()?;
            keep_certificate(transaction, role(row, 0)?, &name(row, 1)?, &certificate)?;
            Ok(Some(certificate))
        })
        .await
    }

    /// A certificate was issued at `now`: it cannot be earlier.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub async fn raise_floor(&self, now: UnixTime) -> Result<(), CatalogError> {
        self.transact(move |transaction| raise_floor(transaction, now)).await
    }

    /// Denies a member for good. Once that is kept, `after` has the fingerprints of all its certificates, whoever waits.
    ///
    /// # Errors
    /// [`CatalogError::Missing`]: nobody has that role and name.
    pub async fn deny(
        &self,
        role: Role,
        name: NodeId,
        now: UnixTime,
        after: impl FnOnce(&[Fingerprint]) + Send + 'static,
    ) -> Result<(), CatalogError> {
        let deny = move |transaction: &Transaction<'_>| {
            let changed = transaction.execute(
                "UPDATE members SET denied = coalesce(denied, ?3) WHERE role = ?1 AND name = ?2",
                params![role.name(), name.as_str(), seconds(now)],
            )?;
            if changed == 0 {
                return Err(CatalogError::missing(role.name(), &name));
            }
            deny_certificates(transaction, role, &name, now)
        };
        self.transact_then(deny, |denied: Vec<Fingerprint>| after(&denied)).await
    }

    /// All fingerprints that are denied.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub async fn denied(&self) -> Result<Vec<Fingerprint>, CatalogError> {
        self.transact(|transaction| {
            transaction
                .prepare("SELECT fingerprint FROM certificates WHERE denied IS NOT NULL")?
                .query_map([], |row| row.get(0).map(Fingerprint))?
                .collect::<Result<_, _>>()
                .map_err(CatalogError::from)
        })
        .await
    }

    /// The labels of a member.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub async fn labels(&self, role: Role, name: NodeId) -> Result<Labels, CatalogError> {
        self.transact(move |transaction| labels_of(transaction, role, &name)).await
    }

    /// All members, by role and name.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub async fn members(&self) -> Result<Vec<Member>, CatalogError> {
        self.transact(|transaction| {
            let mut statement =
                transaction.prepare("SELECT role, name, joined, denied FROM members ORDER BY role, name")?;
            let mut rows = statement.query([])?;
            let mut members = Vec::new();
            while let Some(row) = rows.next()? {
                let (role, name) = (role(row, 0)?, name(row, 1)?);
                let labels = labels_of(transaction, role, &name)?;
                let (joined, denied) = (time(row.get(2)?), row.get::<_, Option<i64>>(3)?.map(time));
                members.push(Member { role, name, joined, denied, labels });
            }
            Ok(members)
        })
        .await
    }
}

/// The member is there afterwards, and not denied. Certificates that it had are denied: the one who joins takes over.
pub(super) fn admit(
    transaction: &Transaction<'_>,
    role: Role,
    name: &NodeId,
    token: TokenId,
    now: UnixTime,
) -> Result<Vec<Fingerprint>, CatalogError> {
    let replaced = deny_certificates(transaction, role, name, now)?;
    transaction.execute("DELETE FROM labels WHERE role = ?1 AND name = ?2", [role.name(), name.as_str()])?;
    transaction.execute(
        "INSERT INTO members VALUES (?1, ?2, ?3, NULL)
         ON CONFLICT DO UPDATE SET joined = excluded.joined, denied = NULL",
        params![role.name(), name.as_str(), seconds(now)],
    )?;
    transaction.execute(
        "INSERT INTO labels SELECT ?1, ?2, label, value FROM token_labels WHERE token = ?3",
        params![role.name(), name.as_str(), token.0.cast_signed()],
    )?;
    Ok(replaced)
}

fn labels_of(transaction: &Transaction<'_>, role: Role, name: &NodeId) -> Result<Labels, CatalogError> {
    transaction
        .prepare_cached("SELECT label, value FROM labels WHERE role = ?1 AND name = ?2")?
        .query_map([role.name(), name.as_str()], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<Result<_, _>>()
        .map_err(CatalogError::from)
}

pub(super) fn exists(transaction: &Transaction<'_>, role: Role, name: &NodeId) -> Result<bool, CatalogError> {
    let sql = "SELECT EXISTS (SELECT 1 FROM members WHERE role = ?1 AND name = ?2)";
    Ok(transaction.query_row(sql, [role.name(), name.as_str()], |row| row.get(0))?)
}

pub(super) fn keep_certificate(
    transaction: &Transaction<'_>,
    role: Role,
    name: &NodeId,
    certificate: &NewCertificate,
) -> Result<(), CatalogError> {
    // Past this they are refused by their dates.
    let useless = seconds(certificate.issued).saturating_sub_unsigned(RENEWABLE.as_secs());
    transaction.prepare_cached("DELETE FROM certificates WHERE expires < ?1")?.execute([useless])?;
    let kept: u32 = transaction
        .prepare_cached("SELECT count(*) FROM certificates WHERE role = ?1 AND name = ?2")?
        .query_row([role.name(), name.as_str()], |row| row.get(0))?;
    if kept >= MAX_CERTIFICATES {
        return Err(CatalogError::TooMany { kind: "certificates of this member", limit: MAX_CERTIFICATES });
    }
    let NewCertificate { fingerprint, issued, expires, .. } = certificate;
    transaction
        .prepare_cached("INSERT INTO certificates VALUES (?1, ?2, ?3, ?4, ?5, NULL)")?
        .execute(params![fingerprint.0, role.name(), name.as_str(), seconds(*issued), seconds(*expires)])?;
    raise_floor(transaction, *issued)
}

fn raise_floor(transaction: &Transaction<'_>, now: UnixTime) -> Result<(), CatalogError> {
    transaction.prepare_cached("UPDATE fleet SET floor = max(floor, ?1)")?.execute([seconds(now)])?;
    Ok(())
}

fn deny_certificates(
    transaction: &Transaction<'_>,
    role: Role,
    name: &NodeId,
    now: UnixTime,
) -> Result<Vec<Fingerprint>, CatalogError> {
    transaction
        .prepare_cached(
            "UPDATE certificates SET denied = coalesce(denied, ?3) WHERE role = ?1 AND name = ?2
             RETURNING fingerprint",
        )?
        .query_map(params![role.name(), name.as_str(), seconds(now)], |row| row.get(0).map(Fingerprint))?
        .collect::<Result<_, _>>()
        .map_err(CatalogError::from)
}

/// SQLite's integers are signed.
pub(super) fn seconds(time: UnixTime) -> i64 {
    i64::try_from(time.as_secs()).unwrap_or(i64::MAX)
}

pub(super) fn time(seconds: i64) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(seconds).unwrap_or_default()))
}

pub(super) fn role(row: &Row<'_>, column: usize) -> Result<Role, CatalogError> {
    let text: String = row.get(column)?;
    text.parse().map_err(|error| CatalogError::Unreadable(format!("{error}")))
}

pub(super) fn name(row: &Row<'_>, column: usize) -> Result<NodeId, CatalogError> {
    let text: String = row.get(column)?;
    text.parse().map_err(|error| CatalogError::Unreadable(format!("{error}")))
}
