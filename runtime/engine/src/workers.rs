//! Threads for what must not hold up the step loop.

use std::{io, thread};

use crossbeam_channel::{Sender, unbounded};

type Job = Box<dyn FnOnce() + Send>;

/// Two kinds of work: what a step waits for, and what can wait.
#[derive(Debug)]
pub(crate) struct Workers {
    urgent: Sender<Job>,
    patient: Sender<Job>,
}

impl Workers {
    /// `urgent` threads for masks, one for everything else.
    ///
    /// # Errors
    /// Of the operating system: no more threads.
    pub(crate) fn start(urgent: usize) -> io::Result<Self> {
        Ok(Self { urgent: pool("masks", urgent.max(1))?, patient: pool("chores", 1)? })
    }

    /// For work that a sequence waits for with every token.
    pub(crate) fn urgent(&self, job: impl FnOnce() + Send + 'static) {
        // The threads end after the last sender, so they are there.
        drop(self.urgent.send(Box::new(job)));
    }

    /// For work whose caller waits, but nobody else: compiling, rendering.
    pub(crate) fn patient(&self, job: impl FnOnce() + Send + 'static) {
        drop(self.patient.send(Box::new(job)));
    }
}

fn pool(name: &str, threads: usize) -> io::Result<Sender<Job>> {
    let (sender, jobs) = unbounded::<Job>();
    for _ in 0..threads {
        let jobs = jobs.clone();
        thread::Builder::new().name(name.to_owned()).spawn(move || jobs.iter().for_each(|job| job()))?;
    }
    Ok(sender)
}
