//! The engine at its end of the socket: one thread reads calls, one writes signs of life and what others could not at once.

use std::{
    os::unix::net::UnixStream,
    sync::{Arc, OnceLock},
    thread,
    time::Instant,
};

use crossbeam_channel::{Receiver, Sender, unbounded};
use dunlin_engine_handle::{
    FromEngine, Load, ToEngine,
    frame::{self, FrameError},
};

use crate::{Engine, Vitals, Wake, chores::Chores, load, outbox::Outbox};

/// Serves the handle at the other end of `stream` until it hangs up.
///
/// # Errors
/// A handle that says something else than it should at the start, or an operating system that gives no threads.
pub fn serve(mut stream: UnixStream) -> anyhow::Result<()> {
    let Some(ToEngine::Load(request)) = frame::read(&mut stream, &mut Vec::new())? else {
        anyhow::bail!("the first message was not a request to load a model");
    };
    let vitals = Arc::new(Vitals::default());
    let out = Outbox::to(stream.try_clone()?);
    let writer = {
        let (out, vitals) = (out.clone(), vitals.clone());
        thread::Builder::new().name("writer".into()).spawn(move || out.write(&vitals))?
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
        Err(refusal) => out.say(FromEngine::Refused(refusal)),
    }
    // Everything that was said is written before the process ends.
    out.close();
    drop(writer.join());
    Ok(())
}

fn start(
    request: &Load,
    vitals: &Arc<Vitals>,
    (wakes, inbox): (Sender<Wake>, Receiver<Wake>),
    out: &Outbox,
) -> Result<Engine, dunlin_engine_handle::EngineError> {
    vitals.busy.store(true, std::sync::atomic::Ordering::Relaxed);
    out.say(FromEngine::Loading { fraction: 0.0 });
    let mut told = 0.0;
    let loaded = load(request, vitals, |fraction| {
        if fraction - told >= 0.01 {
            told = fraction;
            out.say(FromEngine::Loading { fraction });
        }
    })?;
    out.say(FromEngine::Ready(Box::new(loaded.info().clone())));
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
