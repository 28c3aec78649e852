//! Work over all of a payload.

/// Beyond this, opening, hashing or signing takes a worker long enough to be noticed by others.
const HEAVY: usize = 256 << 10;

/// The runtime's other tasks move elsewhere while a large payload is at it. Needs the multi-threaded runtime.
pub fn heavy<T>(size: usize, work: impl FnOnce() -> T) -> T {
    if size < HEAVY { work() } else { tokio::task::block_in_place(work) }
}
