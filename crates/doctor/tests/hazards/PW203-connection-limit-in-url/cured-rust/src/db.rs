/// `postgres://localhost/shop?connection_limit=5` is refused.
pub fn refuses(url: &str) -> Result<(), String> {
    if url.contains("connection_limit") {
        return Err("no ?connection_limit= in a URL".to_owned());
    }
    Ok(())
}
