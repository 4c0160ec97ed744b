//! The two ends of the socket: one thread reads calls, one writes answers and signs of life.

use std::{
    os::unix::net::UnixStream,
    sync::{Arc, OnceLock},
    thread,
    time::Instant,
};

use bytes::BytesMut;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, unbounded};
use dunlin_engine_handle::{
    FromEngine, Load, PULSE_INTERVAL, ToEngine,
    frame::{self, FrameError},
};

use crate::{Engine, Vitals, Wake, chores::Chores, load};

/// Frames are written together as long as they do not exceed this, in bytes.
const WRITE_TOGETHER: usize = 64 << 10;

/// Serves the handle at the other end of `stream` until it hangs up.
///
/// # Errors
/// A handle that says something else than it should at the start, or an operating system that gives no threads.
pub fn serve(mut stream: UnixStream) -> anyhow::Result<()> {
    let Some(ToEngine::Load(request)) = frame::read(&mut stream, &mut Vec::new())? else {
        anyhow::bail!("the first message was not a request to load a model");
    };
    let vitals = Arc::new(Vitals::default());
    let (out, messages) = unbounded();
    let writer = {
        let (stream, vitals) = (stream.try_clone()?, vitals.clone());
        thread::Builder::new().name("writer".into()).spawn(move || write(stream, &messages, &vitals))?
    };
    let (wakes, inbox) = unbounded();
    let chores = Arc::new(OnceLock::new());
    {
        let (wakes, chores) = (wakes.clone(), chores.clone());
        thread::Builder::new().name("reader".into()).spawn(move || read(stream, &wakes, &chores))?;
    }
    match start(&request, &vitals, (wakes, inbox), &out) {
        Ok(mut engine) => {
            let _ = chores.set(engine.chores().clone());
            engine.run();
        }
        Err(refusal) => drop(out.send(FromEngine::Refused(refusal))),
    }
    drop((out, chores));
    // Everything that was said is written before the process ends.
    drop(writer.join());
    Ok(())
}

fn start(
    request: &Load,
    vitals: &Arc<Vitals>,
    (wakes, inbox): (Sender<Wake>, Receiver<Wake>),
    out: &Sender<FromEngine>,
) -> Result<Engine, dunlin_engine_handle::EngineError> {
    vitals.busy.store(true, std::sync::atomic::Ordering::Relaxed);
    // The receiver is gone only while the process ends.
    let say = |message| drop(out.send(message));
    say(FromEngine::Loading { fraction: 0.0 });
    let mut told = 0.0;
    let loaded = load(request, vitals, |fraction| {
        if fraction - told >= 0.01 {
            told = fraction;
            say(FromEngine::Loading { fraction });
        }
    })?;
    say(FromEngine::Ready(Box::new(loaded.info().clone())));
    Engine::new(loaded, inbox, wakes, out.clone())
        .map_err(|error| dunlin_engine_handle::EngineError::Backend(format!("no threads: {error}")))
}

/// Reads calls until the handle hangs up. What needs no step is answered from here.
fn read(mut stream: UnixStream, wakes: &Sender<Wake>, chores: &OnceLock<Chores>) {
    let mut scratch = Vec::new();
    loop {
        let message = match frame::read(&mut stream, &mut scratch) {
            Ok(Some(message)) => message,
            Ok(None) => break,
            Err(FrameError::Io(_)) => break,
            Err(error) => {
                eprintln!("dunlin-engine: {error}");
                break;
            }
        };
        let wake = match message {
            ToEngine::Call { id, call } => {
                let arrived = Instant::now();
                let call = match chores.get() {
                    Some(chores) => chores.take(id, *call).map(Box::new),
                    None => Some(call),
                };
                let Some(call) = call else { continue };
                Wake::Call { id, call, arrived }
            }
            ToEngine::Cancel { id } => Wake::Cancel(id),
            ToEngine::Threads(threads) => Wake::Threads(threads),
            ToEngine::Load(_) => continue,
        };
        if wakes.send(wake).is_err() {
            return;
        }
    }
    end_process();
}

/// Nobody is left to compute for. A step may take seconds, and a load minutes; neither can be interrupted otherwise.
fn end_process() -> ! {
    // Fails only for processes that do not exist.
    let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    std::process::exit(1);
}

/// Writes messages as they come, and a pulse in between.
fn write(mut stream: UnixStream, messages: &Receiver<FromEngine>, vitals: &Vitals) {
    let mut buffer = BytesMut::with_capacity(WRITE_TOGETHER);
    let mut next_pulse = Instant::now();
    loop {
        buffer.clear();
        match messages.recv_deadline(next_pulse) {
            Ok(message) => {
                encode(&message, &mut buffer);
                while buffer.len() < WRITE_TOGETHER
                    && let Ok(message) = messages.try_recv()
                {
                    encode(&message, &mut buffer);
                }
            }
            Err(RecvTimeoutError::Timeout) => {
                next_pulse = Instant::now() + PULSE_INTERVAL;
                encode(&FromEngine::Pulse(vitals.pulse()), &mut buffer);
            }
            Err(RecvTimeoutError::Disconnected) => return,
        }
        if std::io::Write::write_all(&mut stream, &buffer).is_err() {
            return;
        }
    }
}

/// A message that cannot be encoded is lost, and its caller told so where it can be.
fn encode(message: &FromEngine, buffer: &mut BytesMut) {
    let Err(error) = frame::encode(message, buffer) else { return };
    eprintln!("dunlin-engine: {error}");
    if let FromEngine::Answer { id, .. } = message {
        let answer =
            Err(dunlin_engine_handle::EngineError::Backend(format!("the answer could not be sent: {error}")));
        drop(frame::encode(&FromEngine::Answer { id: *id, answer }, buffer));
    }
}
