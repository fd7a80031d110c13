//! Replaces the system's source of randomness by a seeded one: the seed decides the order of hash maps, random ids and
//! jitter. A failing seed therefore always fails.

#![expect(unsafe_code, reason = "the system's source of randomness is a function of C")]

use std::{cell::RefCell, panic::resume_unwind, thread};

use crate::oracle::random::Random;

thread_local! {
    static RANDOM: RefCell<Random> = const { RefCell::new(Random::new(0)) };
}

/// Runs `work` on a new thread whose randomness is seeded. The standard library seeds hash maps once per thread.
pub fn with_seed<T: Send>(seed: u64, work: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        let work = scope.spawn(move || {
            RANDOM.set(Random::new(seed));
            work()
        });
        work.join().unwrap_or_else(|panic| resume_unwind(panic))
    })
}

/// Replaces the C library's function of this name in this program.
///
/// # Safety
/// `buffer` must be valid for writes of `length` bytes, as for the function of the C library.
#[unsafe(no_mangle)]
unsafe extern "C" fn getrandom(buffer: *mut u8, length: usize, _flags: u32) -> isize {
    // SAFETY: the caller guarantees it.
    let bytes = unsafe { std::slice::from_raw_parts_mut(buffer, length) };
    RANDOM.with_borrow_mut(|random| {
        for part in bytes.chunks_mut(8) {
            part.copy_from_slice(&random.next().to_le_bytes()[..part.len()]);
        }
    });
    isize::try_from(length).unwrap_or(-1)
}
