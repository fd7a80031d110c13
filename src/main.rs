//! The `aforo` program. See [`aforo::server::boot`].

use std::process::ExitCode;

fn main() -> ExitCode {
    match aforo::server::boot::main() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => error.report().into(),
    }
}
