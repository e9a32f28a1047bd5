//! The binary: arguments in, exit code out.

/// Plans and records are many small pieces of memory, for which this is made.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    talkflow::cli::main(std::env::args_os())
}
