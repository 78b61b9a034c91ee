use dbos::Config;

pub fn by_default(url: &str) -> Config {
    let mut config = Config::new("shop", url); // ← here
    config.max_connections = 3;
    config
}

pub fn as_told(url: &str) -> Config {
    Config {
        migrate: true, // ← here
        ..Config::new("shop", url)
    }
}

pub fn unnamed(url: &str) -> dbos::DBOS {
    dbos::DBOS::new(dbos::Config::new("shop", url)) // ← here
}
