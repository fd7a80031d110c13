//! The `aforo` program. See [`aforo::server::boot`].

use std::process::ExitCode;

/// For static programs: musl's own allocator has one lock for all threads.
#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match aforo::server::boot::main(aforo::embedded_site!()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => error.report().into(),
    }
}
