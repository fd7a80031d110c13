//! Lets the seed decide what else would be the system's choice: the order of hash maps, random ids, jitter. By that a seed
//! that fails fails again.

#![expect(unsafe_code, reason = "the system's source of randomness is a function of C")]

use std::{cell::RefCell, panic::resume_unwind, thread};

use crate::oracle::random::Random;

thread_local! {
    static RANDOM: RefCell<Random> = const { RefCell::new(Random::new(0)) };
}

/// Does work on a thread of its own, on which the seed decides what is random. (Hash maps ask once per thread.)
pub fn decided_by<T: Send>(seed: u64, work: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        let work = scope.spawn(move || {
            RANDOM.set(Random::new(seed));
            work()
        });
        work.join().unwrap_or_else(|panic| resume_unwind(panic))
    })
}

/// Stands in for the C library's function of this name, in this program.
///
/// # Safety
/// As there: `length` bytes can be written to `buffer`.
#[unsafe(no_mangle)]
unsafe extern "C" fn getrandom(buffer: *mut u8, length: usize, _flags: u32) -> isize {
    // SAFETY: the caller promises it.
    let bytes = unsafe { std::slice::from_raw_parts_mut(buffer, length) };
    RANDOM.with_borrow_mut(|random| {
        for part in bytes.chunks_mut(8) {
            part.copy_from_slice(&random.next().to_le_bytes()[..part.len()]);
        }
    });
    isize::try_from(length).unwrap_or(-1)
}
