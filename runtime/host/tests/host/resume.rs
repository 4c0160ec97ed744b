//! An invocation that another attempt goes on with.

use std::time::Duration;

use dunlin_engine_handle::fake::{Fake, Script};
use dunlin_host::{Chunk, Recorded, Resume};
use tokio::sync::mpsc;

use crate::scene::Scene;

/// Two generations that end after one another in both orders, one passed on and one told by the guest itself.
const SCRIPT: &str = "create\nappend 0 first\ngenerate 0\nstream 0\nsay between\ncreate\nappend 1 second\ngenerate 1\nfinish 1\nsay after";

/// What each generation says depends on its seed, as that of a real engine would.
fn fake() -> Fake {
    Fake::default().answering(|generate| {
        let words = format!("caf\u{e9} {} and then some more words", generate.seed % 1000);
        Script::say(&words).with_pause(Duration::from_millis(30))
    })
}

struct Said {
    text: String,
    recorded: Vec<Recorded>,
    transcript: Vec<String>,
}

async fn run(resume: Resume) -> Said {
    let (record, mut recorded) = mpsc::unbounded_channel();
    let mut scene = Scene::new(&fake().start(), SCRIPT).seed(7);
    scene.invocation.attempt = u32::from(resume != Resume::default());
    (scene.invocation.resume, scene.invocation.record) = (resume, Some(record));
    let (chunks, outcome) = scene.chunks().await;
    let text = chunks.into_iter().map(|chunk| match chunk {
        Chunk::Text(text) | Chunk::Json(text) => text,
        Chunk::Progress(_) => String::new(),
    });
    let transcript = crate::scene::transcript(&outcome);
    Said {
        text: text.collect(),
        recorded: std::iter::from_fn(|| recorded.try_recv().ok()).collect(),
        transcript,
    }
}

fn known(recorded: &[Recorded]) -> Vec<Vec<u32>> {
    let mut generations = vec![Vec::new(); 2];
    for recorded in recorded {
        let known = &mut generations[recorded.generation as usize];
        assert_eq!(known.len() as u64, recorded.offset);
        known.extend(&recorded.tokens);
    }
    generations
}

#[tokio::test(start_paused = true)]
async fn another_attempt_goes_on_where_one_was_lost() {
    let whole = run(Resume::default()).await;
    assert!(whole.text.starts_with("caf\u{e9} ") && whole.text.ends_with("after"), "{}", whole.text);
    let boundaries = (0..=whole.text.len()).filter(|&cut| whole.text.is_char_boundary(cut));
    for delivered in boundaries {
        // All that was recorded is known; as much as the network took of the text was delivered.
        let generations = known(&whole.recorded);
        let resumed = run(Resume { generations, delivered_bytes: delivered as u64 }).await;
        assert_eq!(resumed.text, whole.text[delivered..], "after {delivered} bytes");
        assert_eq!((resumed.recorded, resumed.transcript.len()), (Vec::new(), whole.transcript.len()));
    }
    for cut in 0..whole.recorded.len() {
        let generations = known(&whole.recorded[..cut]);
        let resumed = run(Resume { generations, delivered_bytes: 0 }).await;
        assert_eq!(resumed.text, whole.text, "after {cut} records");
        let mut all = whole.recorded[..cut].to_vec();
        all.extend(resumed.recorded);
        assert_eq!(known(&all), known(&whole.recorded));
    }
}
