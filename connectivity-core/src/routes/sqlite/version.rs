//! The releases of SQLite and rusqlite that are linked. They are the newest, unless another crate of
//! the program needs older ones: SQLite is linked once into a program.

use std::sync::Once;

/// The first release in which two connections that write or checkpoint at the same moment cannot
/// damage a file in WAL mode (<https://sqlite.org/wal.html>, "the WAL-reset bug").
const SOUND_WAL: i32 = 3_051_003;

/// Returns the warning about a release with that fault.
pub(super) fn warning() -> Option<String> {
    warning_about(rusqlite::version_number(), rusqlite::version())
}

fn warning_about(number: i32, version: &str) -> Option<String> {
    (number < SOUND_WAL).then(|| {
        format!(
            "SQLite {version} is linked, in which two processes that write at the same moment can, rarely, damage the file; \
             it is mended in 3.51.3: another crate of this program, such as sqlx 0.8, or its Cargo.lock holds the older one"
        )
    })
}

/// Logs that warning, once in this process.
pub(super) fn log_warning() {
    static LOGGED: Once = Once::new();
    if let Some(warning) = warning() {
        LOGGED.call_once(|| tracing::warn!("{warning}"));
    }
}

/// The result of a function of rusqlite that fails in some releases, and cannot fail in others.
pub(crate) trait MayFail {
    /// Returns whether it failed.
    fn checked(self) -> rusqlite::Result<()>;
}

impl MayFail for () {
    fn checked(self) -> rusqlite::Result<()> {
        Ok(())
    }
}

impl MayFail for i32 {
    fn checked(self) -> rusqlite::Result<()> {
        Ok(())
    }
}

impl<T> MayFail for rusqlite::Result<T> {
    fn checked(self) -> rusqlite::Result<()> {
        self.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_with_the_fault_are_named() {
        let warning = warning_about(3_046_000, "3.46.0").unwrap();
        assert!(warning.starts_with("SQLite 3.46.0 is linked"), "{warning}");
        assert!(warning_about(3_051_002, "3.51.2").is_some());
        assert_eq!(warning_about(3_051_003, "3.51.3"), None);
        assert_eq!(warning_about(3_054_001, "3.54.1"), None);
    }
}
