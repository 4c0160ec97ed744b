//! What others send on purpose or by accident: it ends in an error, without a panic and without much memory.

use allocation_counter::measure;
use dunlin_protocol::{
    AttemptId, AttemptOpening, Class, Decoder, Epoch, Fault, FrameError, FromAttempt, Hello, HelloReply,
    InvocationId, Message, Progress, Report, ToAttempt, ToScheduler, ToStore,
    frame::{self, MAX_DEPTH, decode, encoded},
    limits::{self, MAX_ATTEMPTS},
};
use expect_test::{Expect, expect};

use crate::{for_all_messages, samples::Samples, skew::bodies, value::Value};

fn frame_of(body: &[u8]) -> Vec<u8> {
    [&(body.len() as u32).to_le_bytes()[..], body].concat()
}

/// Decoding gives an error of the peer or a message, and takes no more memory than twice the cap.
fn survive<M: Message>(body: &[u8]) -> Option<FrameError> {
    let mut result = None;
    let taken = measure(|| result = decode::<M>(body).err());
    assert!(taken.bytes_max <= 2 * M::CLASS.cap() as u64, "{} bytes for {}", taken.bytes_max, body.len());
    assert!(result.as_ref().is_none_or(|error| error.fault() == Fault::Peer));
    result
}

fn refuse_broken<M: Message>(kind: &str, samples: &Samples<M>) {
    let nests: [Vec<u8>; 3] = [vec![0x91; 700], vec![0x81; 700], [0x81, 0xa1, b'x'].repeat(234)];
    let counts: [&[u8]; 4] = [
        &[0xdd, 0xff, 0xff, 0xff, 0xff],
        &[0xdf, 0xff, 0xff, 0xff, 0xff],
        &[0xdb, 0xff, 0xff, 0xff, 0xff],
        &[0xc6, 0xff, 0xff, 0xff, 0xff],
    ];
    for hostile in nests.iter().map(Vec::as_slice).chain(counts).chain([&[][..], &[0xc1]]) {
        assert!(survive::<M>(hostile).is_some(), "{kind}: {hostile:x?}");
    }
    for body in bodies(samples) {
        for end in 0..body.len() {
            assert!(survive::<M>(&body[..end]).is_some(), "{kind}: {end} bytes of it");
            for count in counts {
                survive::<M>(&[&body[..end], count].concat());
            }
        }
        for more in [&[0xc0][..], &[0x91], &[0xc4], &[0xa1], &body] {
            let error = survive::<M>(&[&body, more].concat());
            assert!(matches!(error, Some(FrameError::TrailingBytes)), "{kind}: {error:?}");
        }
    }
}

#[test]
fn nests_counts_pieces_and_rests_are_refused() {
    for_all_messages!(refuse_broken);
}

#[test]
fn a_nest_is_refused_for_its_depth() {
    // Inside a field that is not known, where anything may stand.
    let nested = |depth: usize| {
        let mut body = b"\x81\xa6Report\x81\xa1x".to_vec();
        body.extend(vec![0x91; depth - 2]);
        body.push(0xc0);
        decode::<ToScheduler>(&body)
    };
    assert!(nested(MAX_DEPTH).is_ok());
    assert!(matches!(nested(MAX_DEPTH + 1), Err(FrameError::TooDeep)));
}

#[test]
fn lengths_that_lie_are_refused_before_anything_is_allocated() {
    fn check<M: Message>() {
        let cap = M::CLASS.cap();
        for length in [cap as u32 + 1, u32::MAX] {
            let taken = measure(|| {
                let error = Decoder::default().next::<M>(&mut &length.to_le_bytes()[..]).err().unwrap();
                assert!(matches!(error, FrameError::TooLarge { .. }) && !error.stream_is_intact());
            });
            assert_eq!(taken.bytes_max, 0);
        }
        // As long as it may be, but nothing comes.
        let taken = measure(|| {
            let mut input = &[&(cap as u32).to_le_bytes()[..], &[0x81; 100]].concat()[..];
            assert!(Decoder::default().next::<M>(&mut input).unwrap().is_none());
        });
        assert!(taken.bytes_max < 1024, "{}", taken.bytes_max);
    }
    check::<HelloReply>();
    check::<AttemptOpening>();
    check::<FromAttempt>();
    check::<ToStore>();
}

#[test]
fn a_whole_frame_in_pieces_takes_its_length_and_no_more() {
    let body = vec![0xc1; Class::Tokens.cap()];
    let frame = frame_of(&body);
    let taken = measure(|| {
        let mut decoder = Decoder::default();
        let mut ended = None;
        for piece in frame.chunks(100) {
            ended = decoder.next::<FromAttempt>(&mut &*piece).transpose();
        }
        assert!(matches!(ended, Some(Err(FrameError::Decode(_)))));
    });
    assert!(taken.bytes_max <= 2 * body.len() as u64, "{}", taken.bytes_max);
}

fn mistype_each<M: Message>(_kind: &str, samples: &Samples<M>) {
    let others = [Value::Raw(vec![0xc0]), Value::Raw(vec![0xff]), Value::List(vec![]), Value::Map(vec![])];
    for body in bodies(samples) {
        let tree = Value::read(&mut &body[..]);
        for (number, other) in
            (0..tree.structs()).flat_map(|number| others.iter().map(move |other| (number, other)))
        {
            let mut fields_count = 0;
            tree.clone().change_struct(number, &mut |_, fields| fields_count = fields.len());
            for field in 0..fields_count {
                let mut changed = tree.clone();
                changed.change_struct(number, &mut |_, fields| fields[field].1 = other.clone());
                survive::<M>(&changed.written());
                changed.change_struct(number, &mut |_, fields| fields.push(fields[field].clone()));
                assert!(survive::<M>(&changed.written()).is_some(), "a field that is there twice");
            }
        }
    }
}

#[test]
fn wrong_types_are_survived() {
    for_all_messages!(mistype_each);
}

#[test]
fn wrong_types_are_named() {
    let check = |body: &[u8], expected: Expect| {
        expected.assert_eq(&decode::<Hello>(body).unwrap_err().to_string());
    };
    check(
        b"\x81\xa8versions\x05",
        expect!["unreadable message: invalid type: integer `5`, expected struct VersionRange"],
    );
    check(
        b"\x81\xa8features\xdd\xff\xff\xff\xff",
        expect!["unreadable message: 4294967295 elements, at most 64 are possible"],
    );
    check(
        b"\xa5hello",
        expect![[r#"unreadable message: invalid type: string "hello", expected struct Hello"#]],
    );
    check(b"\x80", expect!["unreadable message: missing field `versions`"]);
}

/// Rounds for each message.
fn rounds() -> usize {
    let asked = std::env::var("DUNLIN_ARBITRARY_ROUNDS").ok();
    asked.map_or(3000, |rounds| rounds.parse().expect("DUNLIN_ARBITRARY_ROUNDS is a number"))
}

fn mutate(body: &mut Vec<u8>, random: &mut fastrand::Rng) {
    for _ in 0..random.usize(1..6) {
        let at = random.usize(0..=body.len());
        let here = at.min(body.len().saturating_sub(1));
        match random.u8(0..6) {
            _ if body.is_empty() => body.push(random.u8(..)),
            0 => body[here] = random.u8(..),
            1 => body[here] ^= 1 << random.u8(0..8),
            2 => body.insert(at, random.u8(..)),
            3 => drop(body.remove(here)),
            4 => body.truncate(at),
            _ => {
                let piece = body[here..(here + random.usize(1..40)).min(body.len())].to_vec();
                body.splice(at..at, piece).for_each(drop);
            }
        }
    }
}

fn shake<M: Message>(kind: &str, samples: &Samples<M>, read: &mut usize) {
    let mut random = fastrand::Rng::with_seed(kind.bytes().map(u64::from).sum());
    let bodies: Vec<Vec<u8>> = bodies(samples).collect();
    for _ in 0..rounds() {
        let mut body = random.choice(&bodies).unwrap().clone();
        mutate(&mut body, &mut random);
        body.truncate(M::CLASS.cap());
        *read += usize::from(survive::<M>(&body).is_none());
        // And through the decoder, in two pieces.
        let frame = frame_of(&body);
        let (mut head, mut tail) = frame.split_at(random.usize(0..=frame.len()));
        let mut decoder = Decoder::default();
        let first = decoder.next::<M>(&mut head);
        assert!(head.is_empty());
        if matches!(first, Ok(None)) {
            drop(decoder.next::<M>(&mut tail));
            assert!(tail.is_empty() && decoder.is_between_frames());
        }
    }
}

#[test]
fn arbitrary_changes_are_survived() {
    let mut read = 0;
    for_all_messages!(shake, &mut read);
    assert!(read > 0, "some changes leave a message that can be read");
}

#[test]
fn lists_that_are_full_take_no_more_than_twice_the_cap() {
    let entry = b"\x81\xa7attempt\x82\xaainvocation\xc4\x10aaaaaaaaaaaaaaaa\xa6number\x00";
    let body = [&b"\x81\xa6Report\x81\xa8progress\xdc\x01\x00"[..], &entry.repeat(MAX_ATTEMPTS)].concat();
    assert!(survive::<ToScheduler>(&body).is_none());
    let over = [&b"\x81\xa6Report\x81\xa8progress\xdc\x01\x01"[..], &entry.repeat(MAX_ATTEMPTS + 1)].concat();
    let error = survive::<ToScheduler>(&over).unwrap().to_string();
    assert!(error.contains("257 elements, at most 256 are possible"), "{error}");

    let empty_texts = |count: usize| {
        let head = b"\x81\xa5Chunk\x82\xa6offset\x00\xa9emissions\xdc";
        [&head[..], &(count as u16).to_be_bytes(), &b"\x81\xa4Text\x80".repeat(count)].concat()
    };
    assert!(survive::<FromAttempt>(&empty_texts(64)).is_none());
    assert!(survive::<FromAttempt>(&empty_texts(65)).is_some());
    let filled =
        [&b"\x81\xa5Chunk\x82\xa6offset\x00\xa9emissions\x91\x81\xa4Json\xda\x20\x01"[..], &[b'x'; 8193]];
    assert!(survive::<FromAttempt>(&filled.concat()).unwrap().to_string().contains("at most 8000"));
}

#[test]
fn what_is_too_long_is_not_sent() {
    let mut report = Report::default();
    let progress = Progress {
        attempt: AttemptId { invocation: InvocationId(1), number: 0 },
        offset: 0,
        prompt_tokens: 0,
        output_tokens: 0,
        elapsed_ms: 0,
    };
    report.progress = vec![progress; MAX_ATTEMPTS];
    let mut out = b"before".to_vec();
    frame::encode(&ToScheduler::Report(Box::new(report.clone())), &mut out).unwrap();
    let length = out.len();
    report.progress.push(progress);
    let error = frame::encode(&ToScheduler::Report(Box::new(report)), &mut out).unwrap_err();
    assert_eq!((error.fault(), out.len()), (Fault::Own, length));
    expect!["unwritable message: 257 elements, at most 256 are possible"].assert_eq(&error.to_string());
}

#[test]
fn one_stream_begins_with_one_type_and_goes_on_with_another() {
    let first = encoded(&crate::samples::hello()[0].1).unwrap();
    let then = encoded(&ToAttempt::Cancel { epoch: Epoch(3) }).unwrap();
    let bytes = [first, then.clone(), then].concat();
    let mut decoder = Decoder::default();
    let mut input = &bytes[..];
    assert!(decoder.next::<Hello>(&mut input).unwrap().is_some());
    for _ in 0..2 {
        let cancel: ToAttempt = decoder.next(&mut input).unwrap().unwrap();
        assert_eq!(cancel, ToAttempt::Cancel { epoch: Epoch(3) });
    }
    assert!(input.is_empty() && decoder.is_between_frames());
    assert!(decoder.next::<ToAttempt>(&mut input).unwrap().is_none());
}

#[test]
fn a_node_that_holds_much_can_still_say_so() {
    let mut samples = crate::samples::to_scheduler();
    let ToScheduler::Inventory(mut inventory) = samples.remove(0).1 else {
        panic!("the first is the inventory")
    };
    fn fill<T: Clone>(list: &mut Vec<T>, length: usize) {
        *list = vec![list[0].clone(); length];
    }
    fill(&mut inventory.models, limits::MAX_MODELS);
    fill(&mut inventory.components, limits::MAX_COMPONENTS);
    fill(&mut inventory.points, limits::MAX_POINTS);
    fill(&mut inventory.labels, limits::MAX_LABELS);
    fill(&mut inventory.attempts, MAX_ATTEMPTS);
    inventory.state.progress.clear();
    fill(&mut inventory.state.residents, limits::MAX_RESIDENTS);
    inventory.models.iter_mut().for_each(|model| model.name = "a".repeat(40));
    let length = encoded(&ToScheduler::Inventory(inventory)).unwrap().len();
    assert!(length < Class::Control.cap(), "{length}");
}
