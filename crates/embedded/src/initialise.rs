//! Making the data directory.

use postgresql_commands::CommandBuilder;
use postgresql_commands::initdb::InitDbBuilder;

use crate::Error;
use crate::account::Account;
use crate::home::Home;
use crate::installation::Installation;
use crate::options::Purpose;

/// The name of the superuser.
pub(crate) const SUPERUSER: &str = "postgres";

/// Runs `initdb` unless there is data already. The directory appears whole or not at all: it is
/// made beside its place and renamed.
///
/// Blocks for about a second.
pub(crate) fn initialise(
    home: &Home,
    installation: &Installation,
    account: &Account,
    purpose: Purpose,
) -> Result<(), Error> {
    let data = home.data();
    if data.exists() {
        return Ok(());
    }
    let unfinished = home.path().join("data.new");
    if unfinished.exists() {
        std::fs::remove_dir_all(&unfinished).map_err(Error::io("remove", &unfinished))?;
    }
    home.make_password(account)?;
    let mut builder = InitDbBuilder::new()
        .program_dir(&installation.bin_dir)
        .pgdata(&unfinished)
        .username(SUPERUSER)
        .pwfile(home.password_file())
        .auth("scram-sha-256")
        .encoding("UTF8")
        .locale("C.UTF-8")
        .no_instructions();
    if purpose == Purpose::Test {
        builder = builder.no_sync();
    }
    let initdb = builder.build();
    let output = account
        .command(initdb.get_program())
        .args(initdb.get_args())
        .current_dir(home.path())
        .output()
        .map_err(Error::io("run", &installation.bin_dir.join("initdb")))?;
    if !output.status.success() {
        let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.push_str(&String::from_utf8_lossy(&output.stderr));
        return Err(Error::Initdb { data, output: text });
    }
    std::fs::rename(&unfinished, &data).map_err(Error::io("put in place", &data))
}
