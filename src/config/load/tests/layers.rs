use super::*;

#[test]
fn a_secret_is_text_or_a_place_and_never_shown() {
    let env = [("PW", "0042")];
    let secret = |value: &str| {
        let config = load(&[BASE, &format!("accounts.a.password = {value}")], env).unwrap();
        assert!(!format!("{config:?}").contains("0042"));
        config.accounts["a"].password.expose().to_owned()
    };
    assert_eq!(secret("{ env = 'PW' }"), "0042");
    assert_eq!(secret("'0042'"), "0042");
    assert_eq!(secret("5"), "5");
    assert_eq!(secret("1.50"), "1.50");
    assert_eq!(secret("true"), "true");
    let shape = "accounts.a.password: must be a string, { env = \"NAME\" } or { file = \"PATH\" }";
    assert_each(&[
        ("accounts.a.password = ['hunter2']", shape),
        ("accounts.a.password = { evn = 'hunter2' }", shape),
        ("accounts.a.password = { env = 'X', file = 'hunter2' }", shape),
        ("accounts.a.password = ''", "accounts.a.password: must not be empty"),
        ("accounts.a.password = { env = 'X' }", "accounts.a.password: the environment variable X is not set"),
        ("http.token = { file = '/nowhere' }", "http.token: cannot read /nowhere: no such file"),
    ]);
}

#[test]
fn the_environment_wins_and_speaks_in_texts() {
    let env = [
        ("ONSIP_ROUTER__XMPP__PORT", "5223"),
        ("ONSIP_ROUTER__ONSIP__AUTHORIZE", "false"),
        ("ONSIP_ROUTER__ONSIP__SUBSCRIPTION_LEASE", "90s"),
        ("ONSIP_ROUTER__ACCOUNTS__A__PASSWORD", "007"),
        ("ONSIP_ROUTER__ACCOUNTS__FRONT_DESK__JID", "front@acme.onsip.com"),
        ("ONSIP_ROUTER__ACCOUNTS__FRONT_DESK__PASSWORD__ENV", "PW"),
        ("ONSIP_ROUTER__ACCOUNTS__FRONT_DESK__SUBSCRIBE__USER_AGENTS", "/me/x"),
        ("ONSIP_ROUTER__ACCOUNTS__BACK-OFFICE__JID", "back@acme.onsip.com"),
        ("ONSIP_ROUTER__ACCOUNTS__BACK-OFFICE__PASSWORD", "1e3"),
        ("ONSIP_ROUTER_SERVICE_HOST", "10.0.0.1"),
        ("PW", "hunter2"),
    ];
    let config = load(&[BASE, "xmpp.port = 1"], env).unwrap();
    assert_eq!((config.xmpp.port, config.onsip.authorize), (5223, false));
    assert_eq!(config.onsip.subscription_lease, Duration::from_secs(90));
    assert_eq!(config.accounts["a"].password.expose(), "007");
    assert_eq!(config.accounts["front-desk"].password.expose(), "hunter2");
    assert_eq!(config.accounts["front-desk"].subscribe[0].0.name(), "user-agents");
    assert_eq!(config.accounts["back-office"].password.expose(), "1e3");
}

#[test]
fn a_variable_that_is_no_key_or_contradicts_another_is_a_problem() {
    let of = |env| load(&[BASE], env).map(drop).unwrap_err().to_string();
    let unknown = "xmpp.hots: unknown key; the nearest known one is `host` (environment, ONSIP_ROUTER__XMPP__HOTS)";
    assert_eq!(of([("ONSIP_ROUTER__XMPP__HOTS", "x"), ("A", "")]), unknown);
    assert!(of([("ONSIP_ROUTER__XMPP____HOST", "x"), ("A", "")]).starts_with("ONSIP_ROUTER__XMPP____HOST: is no key"));
    let twice = [("ONSIP_ROUTER__ACCOUNTS__A-B__JID", "x"), ("ONSIP_ROUTER__ACCOUNTS__A_B__JID", "y")];
    let problem = "ONSIP_ROUTER__ACCOUNTS__A_B__JID: sets the same key as ONSIP_ROUTER__ACCOUNTS__A-B__JID";
    assert!(of(twice).lines().any(|line| line == problem));
    let nested = [("ONSIP_ROUTER__HTTP__TOKEN", "hunter2"), ("ONSIP_ROUTER__HTTP__TOKEN__FILE", "y")];
    let problem = "ONSIP_ROUTER__HTTP__TOKEN__FILE: sets a key within one that another variable sets";
    assert!(of(nested).lines().any(|line| line == problem));
    let both = of([("ONSIP_ROUTER__A____B", "x"), ("ONSIP_ROUTER__XMPP__PORT", "0")]);
    assert_eq!(both.lines().count(), 2, "{both}");
    let deep = format!("ONSIP_ROUTER{}", "__A".repeat(5_000));
    assert!(of([(&deep, "x"), ("A", "")]).contains("is no key"));
}

#[test]
fn later_files_win_and_a_folder_is_read_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    write("10.toml", BASE);
    write("20.toml", "[xmpp]\nport = 2\nhost = 'b'\n[accounts.a]\nenabled = false");
    write("15.toml", "[xmpp]\nport = 1\nhost = 'a'\nping_interval = '9s'");
    write(".30.toml", "xmpp.port = 3");
    write("40.txt", "nonsense");
    let config = Config::load(&[folder.path().to_owned()], std::iter::empty()).unwrap();
    assert_eq!((config.xmpp.port, config.xmpp.host.as_deref()), (2, Some("b")));
    assert_eq!(config.xmpp.ping_interval, Duration::from_secs(9));
    assert!(!config.accounts["a"].enabled);
}

#[test]
fn a_path_without_a_configuration_is_a_problem_that_names_it() {
    let folder = tempfile::tempdir().unwrap();
    let of = |path: PathBuf| Config::load(&[path], std::iter::empty()).map(drop).unwrap_err().to_string();
    let shown = folder.path().display();
    assert_eq!(of(folder.path().to_owned()), format!("{shown}: holds no *.toml file"));
    assert_eq!(of(folder.path().join("x.toml")), format!("{shown}/x.toml: does not exist"));
    fs::write(folder.path().join("x.toml"), b"\xff").unwrap();
    assert_eq!(of(folder.path().to_owned()), format!("{shown}/x.toml: is not UTF-8 text"));
    fs::write(folder.path().join("x.toml"), "password = \"hunter2").unwrap();
    let problem = of(folder.path().to_owned());
    assert!(problem.starts_with(&format!("{shown}/x.toml: line 1, column ")), "{problem}");
    assert!(!problem.contains("hunter2"));
}

#[test]
fn a_later_layer_may_say_another_place_for_a_secret() {
    let config = load(
        &[BASE, "accounts.a.password = { env = 'GONE' }", "accounts.a.password.file = 'gone'"],
        [("ONSIP_ROUTER__ACCOUNTS__A__PASSWORD__ENV", "PW"), ("PW", "x")],
    );
    assert_eq!(config.unwrap().accounts["a"].password.expose(), "x");
}

#[test]
fn tables_nested_without_end_are_refused() {
    for text in [
        format!("a{} = 1", ".a".repeat(50_000)),
        format!("a = {}", "[".repeat(50_000)),
        format!("[{}a]", "a.".repeat(50_000)),
    ] {
        assert!(load(&[BASE, &text], NO_ENV).is_err());
    }
}

/// Returns the warnings where this variable is set.
fn warned(variable: &str, value: &str) -> Option<String> {
    let mut config = load(&[BASE], [(variable, value)]).unwrap();
    config.warnings.pop().map(|problem| problem.to_string())
}

#[test]
fn a_variable_with_too_few_underscores_is_warned_of_with_the_right_one() {
    for (written, meant) in [
        ("XMPP_PORT", "XMPP__PORT"),
        ("XMPP_PROT", "XMPP__PORT"),
        ("INSTANCE", "INSTANCE"),
        ("HTTP_ALLOWED_HOSTS", "HTTP__ALLOWED_HOSTS"),
        ("HTTP_TOKEN_FILE", "HTTP__TOKEN__FILE"),
        ("ONSIP_SUBSCRIPTION_LEASE", "ONSIP__SUBSCRIPTION_LEASE"),
        ("ACCOUNTS_A_PASSWORD", "ACCOUNTS__A__PASSWORD"),
        ("ACCOUNTS_FRONT_DESK_PASSWORD_ENV", "ACCOUNTS__FRONT_DESK__PASSWORD__ENV"),
        ("SINKS_HOOK_TYPE", "SINKS__HOOK__TYPE"),
        ("SINKS_HOOK_URL", "SINKS__HOOK__URL"),
    ] {
        let variable = format!("ONSIP_ROUTER_{written}");
        let said = format!("{variable}: sets nothing; is ONSIP_ROUTER__{meant} meant?");
        assert_eq!(warned(&variable, "5222").as_deref(), Some(said.as_str()));
    }
    let strange = warned("ONSIP_ROUTER_COLOUR", "x").unwrap();
    assert!(
        strange.starts_with("ONSIP_ROUTER_COLOUR: sets nothing; variables that set a key begin with ONSIP_ROUTER__")
    );
}

#[test]
fn what_is_read_or_set_by_kubernetes_is_not_warned_of() {
    for known in [
        "ONSIP_ROUTER_TOKEN",
        "ONSIP_ROUTER",
        "ONSIP_ROUTER_SERVICE_HOST",
        "ONSIP_ROUTER_SERVICE_PORT",
        "ONSIP_ROUTER_SERVICE_PORT_HTTP",
        "ONSIP_ROUTER_PORT",
        "ONSIP_ROUTER_PORT_9464_TCP",
        "ONSIP_ROUTER_PORT_9464_TCP_ADDR",
        "ONSIP_ROUTER_METRICS_SERVICE_HOST",
        "ONSIP_ROUTER_METRICS_PORT",
        "ONSIP_ROUTER_METRICS_PORT_9464_TCP_PROTO",
        "ONSIPROUTER_X",
    ] {
        assert_eq!(warned(known, "tcp://10.0.0.1:9464"), None, "{known}");
    }
}
