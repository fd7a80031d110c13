//! The `aforo` program. See [`aforo::server::boot`].

use std::{ffi::c_long, process::ExitCode};

use aforo::server::boot;
use libmimalloc_sys::{mi_option_get, mi_option_set, mi_option_t};
use mimalloc::MiMalloc;

/// The allocator of the C library needs up to a fifth more processor time for calls, and musl's far more.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// The option `purge_delay` of mimalloc, and its default: how long freed pages are kept, in milliseconds.
const PURGE_DELAY: (mi_option_t, c_long) = (15, 1_000);

/// How long freed pages are kept, in milliseconds. While 10,000 streams connect, they need more memory than when they are
/// open. The allocator gives freed memory back at the first call after the delay. With a second, no such call comes: the
/// process is quiet by then.
const KEEP_FOR: c_long = 100;

fn main() -> ExitCode {
    give_back_memory_soon();
    match boot::main(aforo::embedded_site!()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => error.report().into(),
    }
}

/// Sets the delay, unless another version of mimalloc has another option in its place.
#[expect(unsafe_code, reason = "the options of the allocator are functions of C")]
fn give_back_memory_soon() {
    let (option, default) = PURGE_DELAY;
    // SAFETY: The functions read and write one number. They are not thread safe, and this is the only thread.
    unsafe {
        if mi_option_get(option) == default {
            mi_option_set(option, KEEP_FOR);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(unsafe_code, reason = "as above")]
    fn the_allocator_keeps_freed_memory_for_a_short_time() {
        give_back_memory_soon();
        // SAFETY: Only this test uses the options.
        assert_eq!(unsafe { mi_option_get(PURGE_DELAY.0) }, KEEP_FOR);
    }
}
