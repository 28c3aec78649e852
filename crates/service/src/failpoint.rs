//! Named places where a test kills the process: `BRIDGE_FAILPOINT=publisher.accepted` or
//! `BRIDGE_FAILPOINT=publisher.accepted:3` for the third pass. A release build holds none of it.

/// Passes the named place; the process dies by SIGKILL when it was asked to die here.
#[cfg(not(debug_assertions))]
#[inline(always)]
pub fn hit(_name: &'static str) {}

/// Passes the named place; the process dies by SIGKILL when it was asked to die here.
#[cfg(debug_assertions)]
pub fn hit(name: &'static str) {
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    struct Asked {
        name: String,
        passes_left: AtomicU64,
    }
    static ASKED: LazyLock<Option<Asked>> = LazyLock::new(|| {
        let text = std::env::var("BRIDGE_FAILPOINT").ok().filter(|text| !text.is_empty())?;
        let (name, passes) = match text.rsplit_once(':') {
            Some((name, passes)) => (name.to_owned(), passes.parse().unwrap_or(1)),
            None => (text, 1),
        };
        Some(Asked { name, passes_left: AtomicU64::new(passes) })
    });

    let Some(asked) = ASKED.as_ref().filter(|asked| asked.name == name) else { return };
    let passes_left =
        asked.passes_left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
    if !matches!(passes_left, Ok(1)) {
        return;
    }
    tracing::warn!(failpoint = name, "dying here, as asked by BRIDGE_FAILPOINT");
    let pid = std::process::id().to_string();
    if let Err(error) = std::process::Command::new("kill").args(["-9", &pid]).status() {
        tracing::error!(%error, "kill cannot be run; aborting instead");
        std::process::abort();
    }
    loop {
        std::thread::park();
    }
}
