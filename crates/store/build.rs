//! `sqlx::migrate!` does not notice a migration that is new.

fn main() {
    println!("cargo::rerun-if-changed=migrations");
}
