//! The binary: arguments in, exit code out.

fn main() -> std::process::ExitCode {
    talkflow::cli::main(std::env::args_os())
}
