use dbos::Config;

pub fn later(url: &str) -> Config {
    let mut config = Config::new("shop", url);
    config.migrate = false;
    config
}

pub fn as_told(url: &str, migrate: bool) -> Config {
    Config {
        migrate,
        ..Config::new("shop", url)
    }
}

/// A command that migrates does so through the system database's own configuration.
pub fn command(url: &str) -> dbos::sysdb::postgres::Config<'_> {
    dbos::sysdb::postgres::Config {
        migrate: true,
        ..dbos::sysdb::postgres::Config::new(url)
    }
}
