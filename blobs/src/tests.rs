use std::{
    fs,
    io::Read,
    path::Path,
    time::{Duration, SystemTime},
};

use dunlin_protocol::BlobDigest;
use expect_test::{Expect, expect};
use tempfile::TempDir;

use crate::{Begun, BlobHasher, Collected, Limits, Store, StoreError, Transfer};

const DAY: Duration = Duration::from_secs(86_400);

fn bytes(length: usize) -> Vec<u8> {
    (0..length).map(|index| (index % 251) as u8).collect()
}

fn digest(content: &[u8], like: BlobDigest) -> BlobDigest {
    let mut hasher = BlobHasher::like(like);
    hasher.update(content);
    hasher.finish()
}

fn sha256(content: &[u8]) -> BlobDigest {
    digest(content, format!("sha256:{}", "0".repeat(64)).parse().unwrap())
}

fn blake3(content: &[u8]) -> BlobDigest {
    digest(content, format!("blake3:{}", "0".repeat(64)).parse().unwrap())
}

fn store() -> (TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path(), Limits { reserve_bytes: 0, ..Limits::default() }).unwrap();
    (folder, store)
}

fn transfer(store: &Store, blob: BlobDigest, bytes: usize) -> Transfer {
    match store.begin(blob, bytes as u64).unwrap() {
        Begun::Transfer(transfer) => *transfer,
        Begun::Present(path) => panic!("{} is here", path.display()),
    }
}

fn send(transfer: &mut Transfer, content: &[u8], until: usize) -> Result<(), StoreError> {
    for piece in content[transfer.offset() as usize..until].chunks(1000) {
        transfer.write(transfer.offset(), piece)?;
    }
    Ok(())
}

fn bring(store: &Store, content: &[u8]) -> BlobDigest {
    let blob = sha256(content);
    let mut transfer = transfer(store, blob, content.len());
    send(&mut transfer, content, content.len()).unwrap();
    transfer.finish().unwrap();
    blob
}

fn refused<T: std::fmt::Debug>(result: Result<T, StoreError>, expected: &Expect) {
    let text = result.unwrap_err().to_string();
    // Digests and folders are long, and folders differ.
    let word = |word: &str| match word {
        word if word.len() > 64 && word.contains(':') => word.split(':').next().unwrap().to_owned() + ":..",
        word if word.starts_with('/') => "FOLDER".to_owned(),
        word => word.to_owned(),
    };
    expected.assert_eq(&text.split(' ').map(word).collect::<Vec<_>>().join(" "));
}

fn parts(folder: &Path) -> usize {
    fs::read_dir(folder.join("incoming")).unwrap().count()
}

#[test]
fn a_blob_comes_in_pieces_and_is_stored_once() {
    for named in [sha256, blake3] {
        let (folder, store) = store();
        let content = bytes(5000);
        let blob = named(&content);
        let mut transfer = transfer(&store, blob, content.len());
        send(&mut transfer, &content, 5000).unwrap();
        assert_eq!(store.path(blob), None, "not before it was checked");
        let path = transfer.finish().unwrap();
        assert_eq!(fs::read(&path).unwrap(), content);
        assert!(matches!(store.begin(blob, 5000).unwrap(), Begun::Present(there) if there == path));
        assert_eq!((store.list().unwrap(), parts(folder.path())), (vec![(blob, 5000)], 0));
        let (mut file, length) = store.read(blob, 4990).unwrap();
        let mut rest = Vec::new();
        file.read_to_end(&mut rest).unwrap();
        assert_eq!((rest, length), (content[4990..].to_vec(), 5000));
        store.verify(blob).unwrap();
        store.remove(blob).unwrap();
        store.remove(blob).unwrap();
        assert_eq!(store.list().unwrap(), []);
    }
}

#[test]
fn a_transfer_goes_on_where_it_stopped() {
    let (_folder, store) = store();
    let content = bytes(10_000);
    let blob = blake3(&content);
    for until in [1500, 1500, 9999] {
        send(&mut transfer(&store, blob, content.len()), &content, until).unwrap();
    }
    // After a restart, too.
    let mut last = transfer(&store, blob, content.len());
    assert_eq!(last.offset(), 9999);
    send(&mut last, &content, 10_000).unwrap();
    last.finish().unwrap();
    assert!(store.path(blob).is_some());
}

#[test]
fn a_full_disk_is_said_and_what_has_come_is_kept() {
    let (_folder, store) = store();
    let content = bytes(10_000);
    let blob = sha256(&content);
    let mut full = transfer(&store, blob, content.len()).on_a_disk_with(2500);
    let error = send(&mut full, &content, 10_000);
    assert!(error.as_ref().is_err_and(StoreError::may_retry));
    refused(
        error,
        &expect!["the disk is full: sha256:.. needs 8000 more bytes at FOLDER make room and try again"],
    );
    refused(
        full.write(2000, &[1]),
        &expect!["sha256:.. an earlier piece could not be written; begin the transfer anew"],
    );
    refused(
        full.finish(),
        &expect!["sha256:.. an earlier piece could not be written; begin the transfer anew"],
    );
    // The half of a piece that was written is of use.
    let mut again = transfer(&store, blob, content.len());
    assert_eq!(again.offset(), 2500);
    send(&mut again, &content, 10_000).unwrap();
    again.finish().unwrap();
}

#[test]
fn a_disk_that_is_too_small_is_noticed_before_anything_is_sent() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path(), Limits { reserve_bytes: 1 << 62, ..Limits::default() }).unwrap();
    refused(
        store.begin(sha256(b"x"), 1),
        &expect![
            "the disk is full but for 4611686018428 MB that stay free: sha256:.. needs 1 more bytes at FOLDER make room and try again"
        ],
    );
}

#[test]
fn limits_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let limits = Limits { blob_bytes: 6000, total_bytes: 10_000, reserve_bytes: 0 };
    let store = Store::open(folder.path(), limits).unwrap();
    bring(&store, &bytes(6000));
    refused(store.begin(sha256(b"a"), 6001), &expect!["sha256:.. has 6001 bytes; at most 6000 are taken"]);
    refused(
        store.begin(sha256(b"b"), 4001),
        &expect![
            "sha256:.. needs 4001 more bytes, the store may take 4000: remove a model, or raise the store's limit"
        ],
    );
    let promised = transfer(&store, sha256(b"c"), 3000);
    refused(
        store.begin(sha256(b"d"), 1001),
        &expect![
            "sha256:.. needs 1001 more bytes, the store may take 1000: remove a model, or raise the store's limit"
        ],
    );
    drop(promised);
    assert!(store.begin(sha256(b"d"), 4000).is_ok());
}

#[test]
fn what_is_not_what_was_asked_for_is_thrown_away() {
    let (folder, store) = store();
    let blob = blake3(b"wanted");
    let mut other = transfer(&store, blob, 6);
    other.write(0, b"spoilt").unwrap();
    refused(other.finish(), &expect!["what came is not blake3:.. but blake3:.. it was thrown away"]);
    assert_eq!((store.path(blob), parts(folder.path())), (None, 0));
}

#[test]
fn pieces_out_of_order_too_many_and_too_few_are_refused() {
    let (_folder, store) = store();
    let blob = sha256(&bytes(10));
    let mut pieces = transfer(&store, blob, 10);
    refused(pieces.write(1, &[0]), &expect!["sha256:.. a piece at 1 where 0 was expected"]);
    refused(pieces.write(0, &bytes(11)), &expect!["sha256:.. more than the 10 bytes that it should have"]);
    pieces.write(0, &bytes(10)[..4]).unwrap();
    refused(pieces.finish(), &expect!["sha256:.. 4 of 10 bytes came; go on from there"]);
    assert_eq!(transfer(&store, blob, 10).offset(), 4);
}

#[test]
fn two_do_not_fetch_the_same_blob() {
    let (_folder, store) = store();
    let first = transfer(&store, sha256(b"x"), 1);
    refused(store.begin(sha256(b"x"), 1), &expect!["sha256:.. is being fetched already"]);
    assert!(store.begin(sha256(b"y"), 1).is_ok());
    drop(first);
    assert!(store.begin(sha256(b"x"), 1).is_ok());
}

#[test]
fn a_file_that_has_rotted_is_found_and_removed() {
    let (_folder, store) = store();
    let blob = bring(&store, &bytes(5000));
    let path = store.path(blob).unwrap();
    let mut rotten = fs::read(&path).unwrap();
    rotten[4321] ^= 1;
    fs::write(&path, rotten).unwrap();
    refused(
        store.verify(blob),
        &expect![
            "the file of sha256:.. has changed on the disk, it is sha256:.. now; it was removed: fetch it again"
        ],
    );
    refused(store.verify(blob), &expect!["sha256:.. is not here"]);
}

#[test]
fn a_part_that_a_power_cut_has_torn_is_noticed_at_the_end() {
    let (_folder, store) = store();
    let content = bytes(5000);
    let blob = sha256(&content);
    send(&mut transfer(&store, blob, 5000), &content, 3000).unwrap();
    // The length came to the disk, the bytes did not.
    fs::write(store.part(blob), vec![0; 3000]).unwrap();
    let mut torn = transfer(&store, blob, 5000);
    send(&mut torn, &content, 5000).unwrap();
    assert!(matches!(torn.finish(), Err(StoreError::Mismatch { .. })));
    assert_eq!(transfer(&store, blob, 5000).offset(), 0, "from the beginning");
    // A part that is longer than the whole is none of it.
    fs::write(store.part(blob), vec![0; 6000]).unwrap();
    assert_eq!(transfer(&store, blob, 5000).offset(), 0);
}

#[test]
fn parts_that_nobody_goes_on_with_are_collected() {
    let (folder, store) = store();
    let blobs: Vec<BlobDigest> = (0..4).map(|number| sha256(&[number])).collect();
    for (age_days, blob) in (1u32..).zip(&blobs) {
        send(&mut transfer(&store, *blob, 5000), &bytes(5000), 100).unwrap();
        let part = fs::File::open(store.part(*blob)).unwrap();
        part.set_modified(SystemTime::now() - age_days * DAY).unwrap();
    }
    let writing = transfer(&store, blobs[3], 5000);
    let now = SystemTime::now();
    let collected = store.collect(now, 3 * DAY, u64::MAX).unwrap();
    assert_eq!(collected, Collected { parts: 1, bytes: 100 });
    drop(writing);
    // Of three parts the oldest two go, so that 150 bytes are kept at most.
    let collected = store.collect(now, 30 * DAY, 150).unwrap();
    assert_eq!(collected, Collected { parts: 2, bytes: 200 });
    assert_eq!(parts(folder.path()), 1);
    assert!(store.part(blobs[0]).is_file());
}

#[test]
fn what_others_have_put_there_is_left_alone() {
    let (folder, store) = store();
    fs::write(folder.path().join("sha256/README"), "x").unwrap();
    fs::write(folder.path().join("incoming/notes.txt"), "x").unwrap();
    fs::create_dir(folder.path().join("blake3/folder")).unwrap();
    assert_eq!(store.list().unwrap(), []);
    store.collect(SystemTime::now() + DAY, Duration::ZERO, 0).unwrap();
    assert!(folder.path().join("incoming/notes.txt").is_file());
}
