//! A program that is nothing but the parser process.

fn main() -> std::process::ExitCode {
    knowledge::parse::child_main()
}
