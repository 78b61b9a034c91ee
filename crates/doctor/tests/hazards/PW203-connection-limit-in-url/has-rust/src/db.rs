/// `postgres://localhost/shop?connection_limit=5` in a comment is none.
pub const URL: &str = "postgres://localhost/shop?connection_limit=5"; // ← here

pub fn limited(url: &str) -> String {
    format!("{url}&connection_limit={}", 5) // ← here
}
