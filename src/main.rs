//! The `aforo` program. See [`aforo::server::boot`].

use std::{path::Path, process::ExitCode};

use aforo::server::boot;
use mimalloc::MiMalloc;

/// The allocator of the C library needs up to a fifth more processor time for calls, and musl's far more.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    let arguments: Vec<String> =
        std::env::args_os().skip(1).filter_map(|word| word.into_string().ok()).collect();
    let result = match &arguments[..] {
        [task, file, channels @ ..] if task == "demo-history" => {
            boot::demo_history(Path::new(file), channels)
        }
        _ => boot::main(aforo::embedded_site!()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => error.report().into(),
    }
}
