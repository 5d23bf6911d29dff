//! Any text as a configuration: it is refused with a place, or what it says can be written down
//! and read again.

use ckptdb::Error;
use ckptdb::config::Config;
use ckptdb::session::SessionOptions;

pub(crate) fn configuration(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    match Config::parse(&text, "ckptdb.toml") {
        Ok(config) => accepted(&config),
        Err(Error::Invalid { what, .. }) => {
            let place = what
                .strip_prefix("ckptdb.toml:")
                .expect("it names the file");
            let (line, rest) = place.split_once(':').expect("it names the line");
            let line: usize = line.parse().expect("a line is a number");
            assert!(line >= 1 && line <= text.matches('\n').count() + 1);
            assert!(
                rest.split_once(':')
                    .is_some_and(|(column, _)| column.parse::<usize>().is_ok())
            );
        }
        Err(other) => panic!("{other:?}"),
    }
    if let Err(other) = Config::parse_pyproject(&text, "pyproject.toml") {
        assert!(matches!(other, Error::Invalid { .. }), "{other:?}");
    }
    let mut lines = text.lines();
    while let (Some(name), Some(value)) = (lines.next(), lines.next()) {
        let variables = [(format!("CKPTDB_{name}"), value.to_owned())];
        if let Ok(config) = Config::default().with_environment(variables) {
            accepted(&config);
        }
    }
}

/// Every setting is written as it is read.
fn accepted(config: &Config) {
    for job in ["", "NQ", "phase3/NQ"] {
        let settings = config.settings(job);
        let mut again = Config::default();
        for (key, setting) in settings.iter() {
            let text = setting.value.to_string();
            again.set(key.name, &text).expect("it was read before");
        }
        let again = again.settings(job);
        for (key, setting) in settings.iter() {
            let read = again.get(key.name).expect("every key is there");
            assert_eq!(read.value, setting.value, "{}", key.name);
        }
        // It may ask for what makes no sense, and is told.
        drop(SessionOptions::from_settings(&settings));
    }
}
