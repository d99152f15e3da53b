use super::*;

fn from_env(variables: &[(&str, &str)]) -> Result<Config, Vec<String>> {
    let variables = variables
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Config::from_sources(None, variables)
        .map_err(|errors| errors.iter().map(ToString::to_string).collect())
}

fn from_file(text: &str) -> Result<Config, Vec<String>> {
    let path = std::env::temp_dir().join(format!(
        "carnet-{}.toml",
        uuid::Uuid::from_bytes(crate::ids::random())
    ));
    std::fs::write(&path, text).unwrap();
    let config = Config::from_sources(Some(&path), []);
    std::fs::remove_file(&path).unwrap();
    config.map_err(|errors| errors.iter().map(ToString::to_string).collect())
}

#[test]
fn an_empty_configuration_uses_the_defaults() {
    let config = from_env(&[
        ("HOME", "x"),
        ("CARNET_TOKEN", "secret"),
        ("CARNET_REQUIRE_ALL", "1"),
        ("CARNET_ID_TOKEN", "secret"),
    ])
    .unwrap();
    assert_eq!(config.own.issuer(), "http://127.0.0.1:8080");
    assert_eq!(
        config.database.url.as_str(),
        "sqlite://./carnet-data/carnet.db"
    );
    assert_eq!(config.tokens.lifetime_seconds, 900);
    assert!(matches!(
        config.encryption_key,
        EncryptionKeySource::Generated(_)
    ));
}

#[test]
fn the_environment_wins_over_the_file() {
    let path = std::env::temp_dir().join(format!(
        "carnet-{}.toml",
        uuid::Uuid::from_bytes(crate::ids::random())
    ));
    std::fs::write(
        &path,
        "issuer = \"https://a.test\"\n[server]\nlisten = \"0.0.0.0:1\"\n",
    )
    .unwrap();
    let environment = [("CARNET_SERVER__LISTEN".to_owned(), "0.0.0.0:2".to_owned())];
    let config = Config::from_sources(Some(&path), environment).unwrap();
    std::fs::remove_file(&path).unwrap();
    assert_eq!(config.server.listen[0].address().port(), 2);
    assert_eq!(config.own.issuer(), "https://a.test");
}

#[test]
fn every_error_is_reported_at_once() {
    let errors = from_file(
        "issuer = \"http://as.test\"\nsurprise = 1\n[server]\nlisten = \"nowhere\"\nlisen = \"x\"\n\
         [tokens]\nlifetime_seconds = 5\nsigning_algorithm = \"HS256\"\n[database]\nurl = \"mysql://x\"\n\
         [log]\nformat = \"xml\"\n[keys]\nencryption_key = \"a\"\nencryption_key_file = \"b\"\n",
    )
    .unwrap_err();
    for key in [
        "issuer:",
        "surprise:",
        "server.listen:",
        "server.lisen:",
        "tokens.lifetime_seconds:",
        "tokens.signing_algorithm:",
        "database.url:",
        "log.format:",
        "keys.encryption_key:",
    ] {
        assert_eq!(
            errors.iter().filter(|error| error.starts_with(key)).count(),
            1,
            "{key} in {errors:#?}"
        );
    }
    assert!(
        errors
            .iter()
            .any(|error| error.contains("server.lisen") && error.contains("server.listen"))
    );
    assert_eq!(errors.len(), 9, "{errors:#?}");
}

#[test]
fn broken_files_are_errors() {
    assert!(from_file("issuer = ").is_err());
    assert!(Config::from_sources(Some(Path::new("/nonexistent/carnet.toml")), []).is_err());
    assert!(from_env(&[("CARNET_SURPRISE", "1")]).is_err());
    assert!(from_env(&[("CARNET_SERVER__TRUSTED_PROXIES", "[\"10.0.0.0/8\"]")]).is_ok());
}

#[test]
fn the_key_files_folder_may_not_contain_the_servers_data_or_encryption_key() {
    let folder = |settings: &[(&str, &str)]| from_env(settings).map(|config| config.key_files_dir);
    assert_eq!(folder(&[]), Ok(None));
    let keys = ("CARNET_KEY_FILES_DIR", "/k");
    assert_eq!(
        folder(&[keys, ("CARNET_DATA_DIR", "/d")]),
        Ok(Some(PathBuf::from("/k")))
    );
    assert!(
        folder(&[("CARNET_KEY_FILES_DIR", "./k")])
            .unwrap()
            .unwrap()
            .is_absolute()
    );
    for wrong in [
        [keys, ("CARNET_DATA_DIR", "/k/d")],
        [keys, ("CARNET_KEYS__ENCRYPTION_KEY_FILE", "/k/e")],
        [("CARNET_KEY_FILES_DIR", "/"), ("CARNET_DATA_DIR", "d")],
    ] {
        assert!(folder(&wrong).is_err(), "{wrong:?}");
    }
}

#[test]
fn database_urls_are_not_printed() {
    let config = from_env(&[("CARNET_DATABASE__URL", "postgres://u:hunter2@h/d")]).unwrap();
    assert!(!format!("{config:?}").contains("hunter2"));
}
