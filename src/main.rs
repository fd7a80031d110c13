//! The `aforo` program. See [`aforo::server::boot`].

use std::process::ExitCode;

use aforo::server::boot;
use mimalloc::MiMalloc;

/// The allocator of the C library needs up to a fifth more processor time for calls, and musl's far more.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    match boot::main(aforo::embedded_site!()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => error.report().into(),
    }
}
