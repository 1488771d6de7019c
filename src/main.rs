//! stagger
fn main() {}
