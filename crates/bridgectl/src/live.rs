//! Verbs that go on until somebody ends them: by Ctrl-C, by SIGTERM, or by closing the pipe they write to.

use std::io::Write;
use std::os::fd::AsFd;

use tokio::io::Interest;
use tokio::net::unix::pipe;
use tokio::signal::unix::{SignalKind, signal};

use crate::{Exit, Failure};

/// Until the user has left.
pub async fn left() {
    tokio::select! {
        () = interrupted() => (),
        () = reader_gone() => (),
    }
}

/// Until Ctrl-C or SIGTERM.
pub async fn interrupted() {
    let asked = async |kind| match signal(kind) {
        Ok(mut signals) => drop(signals.recv().await),
        // Without a handler the signal ends the process by itself.
        Err(_) => std::future::pending().await,
    };
    tokio::select! {
        () = asked(SignalKind::interrupt()) => (),
        () = asked(SignalKind::terminate()) => (),
    }
}

/// A pipe's reader is missed at once, not only with the next line. What is no pipe is never left.
async fn reader_gone() {
    // Only watched, never written to: the descriptor stays as it is, also for who shares it.
    let out = std::io::stdout().as_fd().try_clone_to_owned().and_then(pipe::Sender::from_owned_fd_unchecked);
    let Ok(out) = out else { return std::future::pending().await };
    if out.ready(Interest::ERROR).await.is_err() {
        std::future::pending().await
    }
}

/// Whether the line was taken: a pipe's reader may have left.
pub fn say(line: &str) -> Result<bool, Failure> {
    let mut out = std::io::stdout().lock();
    match writeln!(out, "{}", crate::human::plain(line)).and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(Failure::new(Exit::Failed, format!("cannot write the answer: {error}"))),
    }
}
