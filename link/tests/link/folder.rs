//! What a member keeps of itself.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use dunlin_link::Folder;
use expect_test::{Expect, expect};

use crate::world::{NODE, World, time};

/// A folder with an identity, changed by `damage`: what reading it says.
fn check(damage: impl Fn(&Path), expected: &Expect) {
    let world = World::new();
    let home = tempfile::tempdir().unwrap();
    let folder = Folder::open(home.path()).unwrap();
    folder.keep_identity(&world.trust, &world.credential(NODE)).unwrap();
    damage(&home.path().join("identity.pem"));
    let read = match folder.identity() {
        Ok(identity) => format!("{:?}", identity.map(|(_, credential)| credential.leaf.identity.to_string())),
        Err(error) => error.to_string().replace(&home.path().display().to_string(), "FOLDER"),
    };
    expected.assert_eq(&read);
}

#[test]
fn an_identity_is_read_whole_or_not_at_all() {
    check(|_| (), &expect![[r#"Some("dunlin://f7/node/pi-1")"#]]);
    check(|file| fs::remove_file(file).unwrap(), &expect!["None"]);
    check(
        |file| fs::write(file, "").unwrap(),
        &expect![[
            r"FOLDER/identity.pem is damaged: it has 0 parts, not key and two certificates; remove it and join again"
        ]],
    );
    check(
        |file| fs::write(file, vec![b'x'; 100_000]).unwrap(),
        &expect![[r"FOLDER/identity.pem is damaged: it has 100000 bytes; remove it and join again"]],
    );
    let half = |file: &Path| {
        let text = fs::read_to_string(file).unwrap();
        fs::write(file, &text[..text.len() / 2]).unwrap();
    };
    check(
        half,
        &expect![[
            r"FOLDER/identity.pem is damaged: it has 1 parts, not key and two certificates; remove it and join again"
        ]],
    );
    let open = |file: &Path| fs::set_permissions(file, fs::Permissions::from_mode(0o644)).unwrap();
    check(
        open,
        &expect![[
            r"FOLDER/identity.pem may be read by others (mode 644); chmod 600 it, and join again if it may have been read"
        ]],
    );
    let other_key = |file: &Path| {
        let other = tempfile::tempdir().unwrap();
        let world = World::new();
        let folder = Folder::open(other.path()).unwrap();
        folder.keep_identity(&world.trust, &world.credential(NODE)).unwrap();
        let (ours, theirs) = (
            fs::read_to_string(file).unwrap(),
            fs::read_to_string(other.path().join("identity.pem")).unwrap(),
        );
        let end = "-----END PRIVATE KEY-----";
        let (_, rest) = ours.split_once(end).unwrap();
        let (key, _) = theirs.split_once(end).unwrap();
        fs::write(file, format!("{key}{end}{rest}")).unwrap();
    };
    check(
        other_key,
        &expect![[
            r"FOLDER/identity.pem is damaged: the certificate of dunlin://f7/node/pi-1 belongs to another key; remove it and join again"
        ]],
    );
}

#[test]
fn the_floor_is_kept_and_nobody_else_reads_the_key() {
    let world = World::new();
    let home = tempfile::tempdir().unwrap();
    let folder = Folder::open(home.path().join("a/b")).unwrap();
    assert_eq!(folder.floor().unwrap(), time(0));
    folder.keep_floor(time(77)).unwrap();
    folder.keep_floor(time(78)).unwrap();
    assert_eq!(folder.floor().unwrap(), time(78));
    folder.keep_identity(&world.trust, &world.credential(NODE)).unwrap();
    let mode = |path: &str| fs::metadata(home.path().join(path)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("a/b"), mode("a/b/identity.pem"), mode("a/b/floor")), (0o700, 0o600, 0o600));
    assert_eq!(fs::read_dir(home.path().join("a/b")).unwrap().count(), 2);
    fs::write(home.path().join("a/b/floor"), "noon").unwrap();
    assert!(folder.floor().is_err());
}
