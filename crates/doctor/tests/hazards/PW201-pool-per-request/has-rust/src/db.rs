pub async fn open() -> String {
    let pool = sea_orm::Database::connect("postgres://localhost/shop").await; // ← here
    String::new()
}
