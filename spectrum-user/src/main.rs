//! The one binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    spectrum_user::cli::main()
}
