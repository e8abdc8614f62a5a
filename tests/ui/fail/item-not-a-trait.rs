use connectivity_core::service;

#[service]
pub struct Stock {
    pub pieces: u64,
}

fn main() {
    let _ = Stock { pieces: 1 };
}
