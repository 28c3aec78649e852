// A new migration must rebuild the embedded set.
fn main() {
    println!("cargo:rerun-if-changed=migrations");
}
