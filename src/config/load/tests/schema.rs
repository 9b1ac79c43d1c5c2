use super::*;

const EXAMPLE: &str = include_str!("../../../../config/example.toml");

#[test]
fn the_compiled_in_file_and_the_tables_of_keys_hold_the_same_defaults() {
    compare(Config::KEYS, &DEFAULTS.parse().unwrap(), "");
}

fn compare(keys: &[Key], table: &toml::Table, path: &str) {
    for key in keys {
        let path = format!("{path}.{}", key.name);
        match (key.kind, key.absent, table.get(key.name)) {
            (Kind::Section(keys), _, Some(value)) => compare(keys, value.as_table().unwrap(), &path),
            (_, Absent::Default(text), Some(value)) => {
                let written = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                assert_eq!(written, text, "{path}");
            }
            (_, Absent::Default(_), None) => unreachable!("{path} is not in the file"),
            (_, Absent::Refused | Absent::Fine, value) => assert!(value.is_none(), "{path}"),
        }
    }
}

fn schema() -> jsonschema::Validator {
    jsonschema::draft202012::new(&Config::schema()).unwrap()
}

#[test]
fn the_schema_and_the_program_agree() {
    let schema = schema();
    let judge = |text: &str| {
        let both: toml::Table = format!("{BASE}\n{text}").parse().unwrap();
        let accepted = schema.is_valid(&serde_json::to_value(&both).unwrap());
        assert_eq!(accepted, load(&[&format!("{BASE}\n{text}")], NO_ENV).is_ok(), "{text}");
    };
    for text in [
        "",
        "[accounts.b]\njid = 'b@x.org'\npassword = 1\n[accounts.b.subscribe]\nx = ['n']",
        "[accounts.b]\njid = 'b@x.org'\npassword = 1\n[accounts.b.subscribe]\nx = ['n', 'n']",
        "[accounts.b]\njid = 'b@x.org'\npassword = []",
        "[accounts.b]\njid = 'b@x.org'",
        "[accounts.B]\njid = 'b@x.org'\npassword = 1",
        "[accounts.b]\njid = 'b'\npassword = 1",
        "[accounts.b]\njid = 'b@x.org'\npassword = 1\nsip_address = 'sip:b@x.org'",
        "[xmpp]\nhots = 'a'",
        "[xmpp]\nport = 0",
        "[xmpp]\nport = 5223\ntls = 'direct'\nping_interval = '1.5h'",
        "[xmpp]\nping_interval = '20'",
        "[xmpp]\nhost = '[::1]'",
        "[sinks.f]\ntype = 'file'\npath = 'x'\nwhen = 'true'",
        "[sinks.f]\ntype = 'file'",
        "[sinks.f]\ntype = 'stdout'\npath = 'x'",
        "[sinks.f]\ntype = 'flie'",
        "[sinks.f]\ntype = 'webhook'\nurl = 'https://a.test/b?c=d@e'\nsecret = 'x'\nbatch = 2",
        "[sinks.f]\ntype = 'webhook'\nurl = 'https://a.test'\nsecret = ['x', 5]\nmode = 'binary'",
        "[sinks.f]\ntype = 'webhook'\nurl = 'https://a.test'\nsecret = []",
        "[sinks.f]\ntype = 'webhook'\nurl = 'https://a.test'\nsecret = [['x']]",
        "[sinks.f]\ntype = 'webhook'\nurl = 'https://me:pw@a.test'",
        "[sinks.f]\ntype = 'webhook'\nurl = 'ftp://a.test'",
        "[store]\nurl = 'postgres://x'",
        "[metrics]\nper_account = false\nmax_accounts = 1",
        "[metrics]\nmax_accounts = 0",
        "[log]\nlevel = 'off'",
        "[http]\nlisten = 'x'",
    ] {
        judge(text);
    }
}

#[test]
fn the_example_is_valid_and_shows_every_key() {
    let passwords = [("FRONT_DESK_PASSWORD", "x"), ("WAREHOUSE_PASSWORD", "y")];
    let config = load(&[EXAMPLE], passwords).unwrap_or_else(|problems| unreachable!("{problems}"));
    assert_eq!((config.accounts.len(), config.sinks.len()), (2, 2));
    let table: toml::Table = EXAMPLE.parse().unwrap();
    assert!(schema().is_valid(&serde_json::to_value(table).unwrap()));
    for key in names(Config::KEYS) {
        let shown = [format!("{key} = "), format!("[{key}."), format!("[{key}]"), format!(".{key}]")];
        assert!(shown.iter().any(|form| EXAMPLE.contains(form)), "{key}");
    }
}

/// Every key at every depth.
fn names(keys: &'static [Key]) -> Vec<&'static str> {
    let below = |key: &'static Key| match key.kind {
        Kind::Section(keys) | Kind::Named { keys, .. } => names(keys),
        Kind::Typed { keys, types, .. } => types.iter().flat_map(|one| names(one.keys)).chain(names(keys)).collect(),
        Kind::Text(_)
        | Kind::File
        | Kind::OneOf(_)
        | Kind::Flag
        | Kind::Whole { .. }
        | Kind::Duration { .. }
        | Kind::Secret
        | Kind::Secrets
        | Kind::Bytes { .. }
        | Kind::List(_)
        | Kind::Lists { .. } => Vec::new(),
    };
    keys.iter().flat_map(|key| std::iter::once(key.name).chain(below(key))).collect()
}
